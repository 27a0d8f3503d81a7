"""Searching over HTTP: every kind of query, filters, and what cannot be asked."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

S = "/libraries/colours/search"


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["name"] for hit in answer.json()["hits"]]


def test_words_find_their_colour(ask) -> None:
    async def scenario(client):
        return await client.post(S, json={"text": "red", "k": 2})

    answer = ask(scenario)
    assert names(answer)[0] == "red.png"
    hit = answer.json()["hits"][0]
    assert hit["score"] == pytest.approx(1.0, abs=1e-5)
    assert hit["texts"] == ["a red thing"]
    assert hit["meta"] == {"album": "even", "year": 2002}
    assert hit["path"].endswith("red.png")
    assert answer.json()["total"] == 6


def test_an_image_finds_its_like_whichever_way_it_comes(ask, image) -> None:
    data = image("blue")

    async def scenario(client):
        by_uri = await client.post(S, json={"image": {"data": uri(data)}, "k": 1})
        by_file = await client.post(f"{S}/image", files={"file": ("x.png", data)}, data={"k": "1"})
        identifier = by_uri.json()["hits"][0]["id"]
        by_id = await client.post(S, json={"image": {"id": identifier}, "k": 6})
        return by_uri, by_file, by_id

    by_uri, by_file, by_id = ask(scenario)
    assert names(by_uri) == names(by_file) == ["blue.png"]
    assert len(names(by_id)) == 5
    assert "blue.png" not in names(by_id), "more like this leaves the image itself out"


def test_a_sum_is_the_weighted_sum_of_unit_vectors(ask, site, image) -> None:
    terms = [{"text": "red"}, {"weight": 0.5, "image": {"data": uri(image("blue"))}}, {"weight": -1, "text": "white"}]

    async def scenario(client):
        return await client.post(S, json={"terms": terms, "k": 6})

    answer = ask(scenario)
    encoder = site.encoder
    total = (
        encoder.encode_texts(["red"])[0]
        + 0.5 * encoder.encode_images([image("blue")])[0]
        - encoder.encode_texts(["white"])[0]
    )
    total = total / np.linalg.norm(total)
    for hit in answer.json()["hits"]:
        colour = hit["name"].removesuffix(".png")
        assert hit["score"] == pytest.approx(float(encoder.encode_texts([colour])[0] @ total), abs=1e-4)


def test_a_vector_of_any_length_is_normalised(ask, site) -> None:
    vector = site.encoder.encode_texts(["green"])[0].astype(float)

    async def scenario(client):
        return [await client.post(S, json={"vector": list(vector * scale), "k": 1}) for scale in (1.0, 1e-200, 1e200)]

    for answer in ask(scenario):
        assert names(answer) == ["green.png"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"column": "album", "value": "odd"}, {"white.png", "green.png", "yellow.png"}),
        ({"column": "year", "op": "ge", "value": 2004}, {"blue.png", "yellow.png"}),
        ({"column": "name", "op": "contains", "value": "RE"}, {"red.png", "green.png"}),
        ({"column": "name", "op": "in", "value": ["red.png", "blue.png"]}, {"red.png", "blue.png"}),
        ({"column": "group", "op": "exists"}, set()),
        (
            {"column": "group", "op": "exists", "value": False},
            {f"{c}.png" for c in ["black", "white", "red", "green", "blue", "yellow"]},
        ),
        ({"column": "name", "value": "it's' OR 1=1 --"}, set()),
        (
            {"column": "modified", "op": "gt", "value": "2001-01-01"},
            {f"{c}.png" for c in ["black", "white", "red", "green", "blue", "yellow"]},
        ),
    ],
)
def test_a_filter_narrows_down(ask, condition, expected) -> None:
    async def scenario(client):
        return await client.post(S, json={"text": "red", "filter": [condition]})

    answer = ask(scenario)
    assert set(names(answer)) == expected
    assert answer.json()["total"] == len(expected)


def test_filters_and_an_expression_hold_together(ask) -> None:
    async def scenario(client):
        return await client.post(
            S,
            json={
                "text": "red",
                "filter": [{"column": "album", "value": "odd"}],
                "where": "year < 2002 OR year > 2004",
            },
        )

    assert set(names(ask(scenario))) == {"white.png", "yellow.png"}


def test_a_filter_that_leaves_nothing_says_what_there_is(ask) -> None:
    async def scenario(client):
        body = {"text": "red", "where": "album = 'neither' AND year < 1900 AND modified < '2000' AND folder = 'Sumer'"}
        listed = await client.get("/libraries/colours/items", params={"where": "album = 'neither'"})
        return (await client.post(S, json=body)).json(), listed.json()

    found, listed = ask(scenario)
    assert (found["hits"], found["total"], listed["items"], listed["total"]) == ([], 0, [], 0)
    assert found["notes"][0].startswith(
        "0 of 6 pass the filter; album has: 'even' (3), 'odd' (3); year has: 2000 to 2005; modified has: 2"
    )
    assert "folder" not in found["notes"][0]  # where files lie is told to nobody
    assert listed["notes"] == ["0 of 6 pass the filter; album has: 'even' (3), 'odd' (3)"]


def test_dates_are_taken_as_people_write_them(ask) -> None:
    async def scenario(client):
        conditions = [{"column": "modified", "op": "ge", "value": "2001-02"}]
        return await client.post(S, json={"text": "red", "filter": conditions, "where": "modified < '9000-01-01'"})

    assert ask(scenario).json()["total"] == 6


def test_an_upload_can_be_filtered_too(ask, image) -> None:
    conditions = json.dumps([{"column": "album", "value": "even"}])

    async def scenario(client):
        return await client.post(f"{S}/image", files={"file": ("x", image("green"))}, data={"filter": conditions})

    assert set(names(ask(scenario))) == {"black.png", "red.png", "blue.png"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "bad_request"),
        ({"text": "red", "vector": [1.0]}, 422, "bad_request"),
        ({"text": "  "}, 422, "empty_text"),
        ({"text": "x" * 1001}, 422, "bad_request"),
        ({"text": "red", "k": 0}, 422, "bad_request"),
        ({"text": "red", "k": 1001}, 422, "bad_request"),
        ({"text": "red", "colour": 1}, 422, "bad_request"),
        ({"vector": [1.0]}, 422, "bad_vector"),
        ({"vector": [0.0] * 16}, 422, "bad_vector"),
        ({"image": {}}, 422, "bad_request"),
        ({"image": {"id": "0123456789abcdef"}}, 404, "no_such_item"),
        ({"image": {"url": "https://example.org/a.jpg"}}, 403, "fetching_is_off"),
        ({"image": {"data": "data:text/html,hello"}}, 415, "not_an_image"),
        ({"image": {"data": "data:image/png;base64,%%%"}}, 422, "truncated"),
        ({"terms": [{"text": "red"}, {"weight": -1, "text": "red"}]}, 422, "nothing_left"),
        ({"terms": [{"weight": 1}]}, 422, "bad_request"),
        ({"text": "red", "filter": [{"column": "nmae", "value": "x"}]}, 422, "bad_filter"),
        ({"text": "red", "filter": [{"column": "year", "value": "x"}]}, 422, "bad_filter"),
        ({"text": "red", "where": "no such thing"}, 422, "bad_filter"),
        ({"text": "red", "where": "1=1; DROP TABLE images"}, 422, "bad_filter"),
        ({"text": "red", "where": "length(repeat('a', 1900000000)) > 0"}, 422, "bad_filter"),
        ({"text": "red", "where": "modified > '31.1.2026'"}, 422, "bad_filter"),
        ({"text": "red", "filter": [{"column": "modified", "op": "gt", "value": "yesterday"}]}, 422, "bad_filter"),
        ({"text": "red", "rerank": True}, 404, "no_such_model"),
        ({"image": {"id": "0000000000000000"}, "explain": True}, 422, "bad_request"),
    ],
)
def test_what_cannot_be_asked_is_told_by_a_code(ask, body, status, code) -> None:
    async def scenario(client):
        return await client.post(S, json=body)

    answer = ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message", "hint", "request_id"}
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_file_of_the_server_cannot_be_named(ask, site) -> None:
    """The CLI's sums may name files; over HTTP words are only words."""
    name = str(site.images / "red.png")

    async def scenario(client):
        return await client.post(S, json={"text": f'"blue" + {name}'})

    assert ask(scenario).status_code == 200, "plain words, embedded as they stand"


def test_a_language_the_model_does_not_know_is_noted(ask, site) -> None:
    site.encoder.languages = frozenset({"en", "de"})

    async def scenario(client):
        return [
            (await client.post(S, json={"text": "red", "language": one})).json()["notes"]
            for one in ("de", "de-AT", "xx")
        ]

    known, regional, unknown = ask(scenario)
    assert known == regional == []
    assert "xx" in unknown[0]


def test_the_map_places_everything_and_the_query(ask) -> None:
    async def scenario(client):
        return (
            await client.get("/libraries/colours/map"),
            await client.get("/libraries/colours/map?format=binary"),
            await client.post(S, json={"text": "red", "k": 6, "on_map": True}),
        )

    plain, binary, found = ask(scenario)
    told = plain.json()
    points = np.frombuffer(binary.content, dtype="<f4", count=18).reshape(6, 3)
    assert (binary.headers["x-map-count"], binary.headers["x-map-total"], told["total"]) == ("6", "6", 6)
    assert np.allclose(points[:, 0], told["x"])
    assert np.allclose(points[:, 2], told["shade"])
    ids = binary.content[18 * 4 :]
    assert [ids[at : at + 8].hex() for at in range(0, 48, 8)] == told["ids"]
    best = found.json()["hits"][0]
    place = told["ids"].index(best["id"])
    assert best["x"] == pytest.approx(told["x"][place], abs=1e-6)
    assert np.hypot(found.json()["lands"][0] - best["x"], found.json()["lands"][1] - best["y"]) < 0.05


def test_a_model_that_judges_pairs_says_how_likely_each_hit_is(site, client_of, image, monkeypatch) -> None:
    def judged(similarity: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(10 * similarity - 5)))

    monkeypatch.setattr(site.encoder, "judges_pairs", True, raising=False)
    monkeypatch.setattr(site.encoder, "pair_probability", judged, raising=False)

    async def scenario() -> Any:
        async with client_of(site.app()) as client:
            by_text = await client.post(S, json={"text": "red", "k": 6})
            by_image = await client.post(S, json={"image": {"data": uri(image("red"))}, "k": 6})
            return by_text, by_image, await client.post(S, json={"terms": [{"text": "red"}], "k": 6})

    by_text, *others = asyncio.run(scenario())
    for hit in by_text.json()["hits"]:
        assert hit["probability"] == pytest.approx(1 / (1 + np.exp(5 - 10 * hit["score"])), abs=1e-5)
    for answer in others:
        assert all(hit["probability"] is None for hit in answer.json()["hits"])
