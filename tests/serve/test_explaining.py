"""Re-ranking, relevance, captions and "why" over HTTP, with a cross-encoder that was really trained."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from diptych.cli.app import run
from diptych.core.errors import LibraryError
from diptych.inspection.occlusion import explain
from diptych.library import Library, NewItem
from diptych.library.store.rows import content_of
from diptych.library.tokens import TokenStore
from diptych.serve.cross_encoder import ServedCrossEncoder

from .conftest import Setting

S = "/libraries/shapes/search"


def pixels_of(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_slow_model_orders_and_says_how_likely(fitted) -> None:
    body = {"text": "a red circle", "k": 8, "rerank": True, "candidates": 6}

    async def scenario(client):
        plain = (await client.post(S, json={**body, "rerank": False})).json()
        return plain, (await client.post(S, json=body)).json()

    plain, answer = fitted.ask(scenario)
    library = Library.open(fitted.folder, fitted.dual_encoder)
    ServedCrossEncoder(fitted.cross_encoder).attach(library)
    expected = library.search("a red circle", 8, rerank=6)
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
    assert [hit["rank"] for hit in answer["hits"]] == [hit.rank + 1 for hit in expected]
    assert [hit["scored_by"] for hit in answer["hits"]] == [hit.scored_by for hit in expected]
    assert answer["hits"][5]["scored_by"] != "cosine" == answer["hits"][6]["scored_by"]
    assert {hit["id"] for hit in answer["hits"][:6]} == {hit["id"] for hit in plain["hits"][:6]}
    assert [hit["relevance"] for hit in answer["hits"]] == [hit.meta.get("probability") for hit in expected]
    assert answer["nothing_matches"] == expected[0].meta["nothing_matches"]
    cosines = {hit["id"]: hit["score"] for hit in plain["hits"]}
    assert all(hit["cosine"] == pytest.approx(cosines[hit["id"]]) for hit in answer["hits"][:6])
    assert all(key not in hit["meta"] for hit in answer["hits"] for key in ("probability", "cosine", "nothing_matches"))
    assert plain["nothing_matches"] is None
    assert all(hit["relevance"] is None for hit in plain["hits"])


def test_features_say_what_there_is(fitted) -> None:
    async def scenario(client):
        models = (await client.get("/v1/models")).json()["data"]
        return (await client.get("/libraries")).json()["libraries"][0]["features"], models

    with_slow, models = fitted.ask(scenario)
    without, _ = fitted.ask(scenario, cross_encoder=False)
    wanted = {"rerank": True, "explain": True, "attention": True, "calibrated": True, "caption": True}
    assert wanted.items() <= with_slow.items()
    assert {**dict.fromkeys(wanted, False), "explain": True}.items() <= without.items()
    assert {
        "id": fitted.cross_encoder.name,
        "dim": None,
        "tasks": ["rerank", "relate", "caption", "explain"],
    }.items() <= models[1].items()


def test_without_tokens_a_search_makes_those_of_its_candidates_and_counts_the_others(fitted, tmp_path) -> None:
    shutil.copytree(fitted.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("tokens"))
    bare = Setting(tmp_path / "bare", fitted.dual_encoder, fitted.cross_encoder)

    async def scenario(client):
        features = (await client.get("/libraries")).json()["libraries"][0]["features"]
        asked = {"text": "a red circle", "rerank": True, "k": 40, "candidates": 40}
        hasty = (await client.post(S, json={**asked, "budget_ms": 0.1})).json()
        return features, hasty, (await client.post(S, json=asked)).json()

    features, hasty, whole = bare.ask(scenario)
    assert (features["rerank"], features["calibrated"], features["caption"]) == (True, True, True)
    assert "36 of the 40 candidates were not looked at" in "".join(hasty["notes"])
    assert not [note for note in whole["notes"] if "looked at" in note]
    assert all(hit["scored_by"] != "cosine" for hit in whole["hits"])


async def first(client, text: str = "a red circle", **more: Any) -> dict:
    return (await client.post(S, json={"text": text, "k": 1, **more})).json()["hits"][0]


def test_why_by_occlusion_is_that_of_the_command(fitted) -> None:
    async def scenario(client):
        hit = await first(client)
        path = f"/libraries/shapes/items/{hit['id']}/why"
        asked = {"text": "a red circle"}
        return hit, await client.get(path, params=asked), await client.get(path, params={**asked, "format": "png"})

    for cross_encoder in (True, False):
        hit, told, png = fitted.ask(scenario, cross_encoder=cross_encoder)
        assert told.status_code == 200, told.text
        expected = explain(fitted.dual_encoder, Path(hit["path"]), "a red circle")
        why = told.json()
        assert (why["by"], why["unit"], why["from_thumbnail"]) == ("occlusion", "cosine", False)
        assert why["score"] == pytest.approx(expected.score, abs=1e-4) == pytest.approx(hit["score"], abs=1e-3)
        assert [one["word"] for one in why["words"]] == ["a", "red", "circle"]
        assert [one["weight"] for one in why["words"]] == pytest.approx(expected.word_drops.tolist(), abs=1e-4)
        assert np.allclose([one["regions"] for one in why["words"]], expected.word_regions, atol=1e-4)
        assert png.headers["content-type"] == "image/png"
        assert np.array_equal(pixels_of(why["overlay"]), np.asarray(PIL.Image.open(io.BytesIO(png.content))))


def test_why_by_the_slow_model_is_what_its_words_looked_at(fitted) -> None:
    from diptych.models.cross_encoder.explain import explain_match

    async def scenario(client):
        hit = await first(client)
        answer = await client.get(
            f"/libraries/shapes/items/{hit['id']}/why", params={"text": "a red circle", "by": "attention"}
        )
        searched = await first(client, rerank=True, explain=True)
        return hit, answer.json(), searched

    hit, why, searched = fitted.ask(scenario)
    expected = explain_match(fitted.cross_encoder, Path(hit["path"]), "a red circle")
    assert (why["by"], why["unit"]) == ("attention", "nats")
    assert [one["weight"] for one in why["words"]] == pytest.approx([one.gain for one in expected.words], abs=1e-2)
    assert sum(map(sum, why["words"][1]["regions"])) == pytest.approx(1, abs=1e-2)
    assert pixels_of(why["overlay"]).ndim == 3
    assert searched["why"]["by"] == "attention"
    assert searched["why"]["overlay"] is None


def test_an_image_that_is_gone_is_explained_by_its_thumbnail(fitted, tmp_path) -> None:
    shutil.copytree(fitted.folder, tmp_path / "library")
    moved = Setting(tmp_path / "library", fitted.dual_encoder, fitted.cross_encoder)

    async def scenario(client):
        hit = await first(client)
        file = Path(hit["path"])
        file.rename(file.with_suffix(".away"))
        try:
            return await client.get(f"/libraries/shapes/items/{hit['id']}/why", params={"text": "a red circle"})
        finally:
            file.with_suffix(".away").rename(file)

    answer = moved.ask(scenario)
    assert answer.json()["from_thumbnail"] is True
    assert answer.json()["score"] > 0.3


@pytest.mark.parametrize("decode", ["beam", "greedy", "nucleus"])
def test_an_image_is_described_whichever_way_it_comes(fitted, decode) -> None:
    async def scenario(client):
        hit = await first(client)
        uri = "data:image/png;base64," + base64.b64encode(Path(hit["path"]).read_bytes()).decode()
        asked = {"decode": decode, "seed": 3}
        return [
            (await client.post("/caption", json={"image": image, **asked, **more})).json()
            for image, more in (
                ({"id": hit["id"]}, {}),
                ({"id": hit["id"]}, {"library": "shapes"}),
                ({"data": uri}, {}),
            )
        ]

    by_id, in_library, by_data = fitted.ask(scenario)
    assert by_id == in_library
    assert by_id["text"] == by_data["text"]
    assert by_id["model"] == fitted.cross_encoder.name
    if decode == "beam":
        assert set(by_id["text"].split()) & {"red", "circle"}


def test_documents_are_ranked_by_the_slow_model_when_it_is_named(fitted) -> None:
    images = ["red-circle-40.png", "blue-square-40.png", "green-circle-40.png"]
    files = [fitted.folder.parent / "images" / name for name in images]
    uris = ["data:image/png;base64," + base64.b64encode(file.read_bytes()).decode() for file in files]
    body = {"query": "a red circle", "documents": uris[::-1], "model": fitted.cross_encoder.name}

    async def scenario(client):
        return await client.post("/v1/rerank", json=body), await client.post(
            "/v1/rerank", json={**body, "documents": ["words"]}
        )

    answer, refused = fitted.ask(scenario)
    results = answer.json()["results"]
    scores = fitted.cross_encoder.score(fitted.cross_encoder.encode_images(files[::-1]), "a red circle")
    assert [one["index"] for one in results] == np.argsort(-scores).tolist()
    assert all(0 <= one["relevance_score"] <= 1 for one in results)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_request")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/libraries/shapes/items/0000000000000000/why", {"text": "x"}, 404, "no_such_item"),
        ("GET", "/libraries/none/items/0000000000000000/why", {"text": "x"}, 404, "no_such_library"),
        ("GET", "/libraries/shapes/items/0000000000000000/why", {"text": " "}, 422, "empty_text"),
        ("GET", "/libraries/shapes/items/0000000000000000/why", {"text": "x", "by": "both"}, 422, "bad_request"),
        ("POST", S, {"vector": [1.0] * 16, "rerank": True}, 422, "bad_request"),
        ("POST", S, {"vector": [1.0] * 16, "explain": True}, 422, "bad_request"),
        ("POST", S, {"text": '"red" + "blue"', "rerank": True}, 422, "bad_request"),
        ("POST", S, {"text": "red", "candidates": 201}, 422, "bad_request"),
        ("POST", "/caption", {"image": {"data": "data:image/png;base64,AAAA"}}, 415, "not_an_image"),
        ("POST", "/caption", {"image": {"id": "0000000000000000"}}, 404, "no_such_item"),
        ("POST", "/caption", {"image": {}}, 422, "bad_request"),
        ("POST", "/caption", {"image": {"url": "https://example.com/x.png"}}, 403, "fetching_is_off"),
    ],
)
def test_what_cannot_be_looked_at(fitted, method, path, body, status, code) -> None:
    async def scenario(client):
        return await client.request(method, path, **({"params": body} if method == "GET" else {"json": body}))

    answer = fitted.ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_more_slow_work_than_the_queue_holds_is_turned_away_and_searching_goes_on(fitted) -> None:
    async def scenario(client):
        hit = await first(client)
        path = f"/libraries/shapes/items/{hit['id']}/why"
        looks = [asyncio.create_task(client.get(path, params={"text": "a red circle"})) for _ in range(12)]
        await asyncio.sleep(0)
        searched = await client.post(S, json={"text": "a blue square"})
        return searched, await asyncio.gather(*looks)

    searched, looks = fitted.ask(scenario, slow_queue=2)
    statuses = [one.status_code for one in looks]
    assert searched.status_code == 200
    assert set(statuses) == {200, 503}
    refused = next(one for one in looks if one.status_code == 503)
    assert refused.json()["code"] == "overloaded"
    assert refused.headers["retry-after"] == "1"


def test_a_pair_that_was_never_fitted_leaves_reranking_out(fitted, caplog) -> None:
    library = Library.open(fitted.folder, fitted.dual_encoder)
    bare = shutil.copytree(fitted.cross_encoder.folder, fitted.folder.parent / "unfitted", dirs_exist_ok=True)
    shutil.rmtree(bare / "pairs")
    from diptych.models.cross_encoder import load_trained_cross_encoder

    assert not ServedCrossEncoder(load_trained_cross_encoder(bare)).attach(library)
    assert "cannot be re-ranked" in caplog.text
    with pytest.raises(LibraryError, match="attach a Reranker"):
        library.reordered("red", [], rerank=5)


def drawn(colour: str) -> bytes:
    """A circle that no library has yet."""
    image = PIL.Image.new("RGB", (60, 60), "white")
    PIL.ImageDraw.Draw(image).ellipse((10, 14, 50, 54), fill=colour)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_an_upload_gets_its_tokens_and_is_reranked(fitted, tmp_path) -> None:
    shutil.copytree(fitted.folder, tmp_path / "library")
    copy = Setting(tmp_path / "library", fitted.dual_encoder, fitted.cross_encoder)

    async def scenario(client):
        files = [("files", ("new.png", drawn("red"))), ("files", ("bad.png", b"no image"))]
        (good, _) = (await client.post("/libraries/shapes/items", files=files)).json()["added"]
        for _ in range(200):
            if content_of(drawn("red")) in TokenStore(copy.folder, copy.cross_encoder):
                break
            await asyncio.sleep(0.02)
        found = (await client.post(S, json={"text": "a red circle", "k": 46, "rerank": True, "candidates": 46})).json()
        return next(hit for hit in found["hits"] if hit["id"] == good["id"])

    hit = copy.ask(scenario)
    assert hit["scored_by"] != "cosine"
    (expected,) = copy.cross_encoder.encode_images([drawn("red")])
    kept = TokenStore(copy.folder, copy.cross_encoder).get([content_of(drawn("red"))])[0]
    assert np.allclose(kept, expected, atol=np.abs(expected).max() / 127)  # they are kept in 8 bits


def test_uploads_get_tokens_by_add_tokens_from_any_folder_and_can_be_explained(
    fitted, tmp_path, monkeypatch, capsys
) -> None:
    shutil.copytree(fitted.folder, tmp_path / "library")
    library = Library.open(tmp_path / "library", fitted.dual_encoder)
    (item,) = library.add([NewItem(drawn("blue"), "blue.png")]).items
    monkeypatch.chdir(tmp_path)
    report = library.add_tokens(fitted.cross_encoder)
    assert (report.added, report.skipped) == (1, ())
    assert content_of(drawn("blue")) in TokenStore(tmp_path / "library", fitted.cross_encoder)
    monkeypatch.chdir("/")
    command = [
        "explain",
        "a blue circle",
        "--by",
        "attention",
        "--reranker",
        str(fitted.cross_encoder.folder),
        "--out",
        str(tmp_path / "x.png"),
    ]
    assert run([*command, "--library", str(tmp_path / "library"), "--id", item.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == item.path
    library.uploads.file(item.path[len(str(tmp_path / "library")) :].replace("/files/", "./files/")).unlink()
    assert run([*command, "--library", str(tmp_path / "library"), "--id", item.id]) == 3
    assert "is gone or has changed" in capsys.readouterr().err
    assert run([*command, "--library", str(tmp_path / "library"), "--id", "0" * 16]) == 3


def test_a_file_that_changed_is_not_shown_as_what_was_indexed(fitted, tmp_path) -> None:
    library = Library.create(tmp_path / "library", fitted.dual_encoder)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(drawn("red"))
    library.index([tmp_path / "images"])
    (item,) = library.items().items
    (tmp_path / "images" / "one.png").write_bytes(drawn("blue"))

    async def scenario(client):
        path = f"/libraries/shapes/items/{item.id}"
        why = await client.get(f"{path}/why", params={"text": "a red circle"})
        return await client.get(f"{path}/preview"), why

    preview, why = Setting(tmp_path / "library", fitted.dual_encoder, fitted.cross_encoder).ask(scenario)
    assert (preview.status_code, preview.json()["code"]) == (404, "no_file")
    assert "changed" in preview.json()["message"]
    assert why.json()["from_thumbnail"] is True
