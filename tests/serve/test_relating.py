"""`POST /v1/relate`: the answers of `diptych relate`, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diptych import relate
from diptych.core.config import Part
from diptych.encoders import image_tower, text_tower
from diptych.evaluation.pair_calibration import PairCalibration
from diptych.inspection.relating import Calibrations
from diptych.models import load
from diptych.models.save import TrainedSide, save
from diptych.serve.app import create_app
from diptych.serve.settings import Pressure, ServeSettings

from .conftest import running


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture
def tiny(tiny_model, tmp_path: Path) -> Path:
    folder: Path = tiny_model(tmp_path / "tiny")
    return folder


@pytest.fixture
def post(tiny, client_of) -> Callable[..., Any]:
    """Posts bodies to /v1/relate, one after the other: `post(body, calibrations=[...])`."""

    def posted(*bodies: Any, calibrations: Any = ()) -> list[Any]:
        async def scenario() -> list[Any]:
            settings = ServeSettings(pressure=Pressure(decoders=1))
            async with client_of(create_app(settings, {}, [load(tiny)], calibrations=calibrations)) as client:
                return [await client.post("/v1/relate", json=body) for body in bodies]

        return asyncio.run(scenario())

    return posted


def calibrations(folder: Path, **kinds: PairCalibration) -> Calibrations:
    model = load(folder)
    named = {kind.replace("_", "-"): one for kind, one in kinds.items()}
    return Calibrations(model.fingerprint, model.name, ("cosine",), "by hand", named)  # type: ignore[arg-type]


def test_pairs_are_judged_by_the_calibration_of_the_model(post, tiny, image) -> None:
    made = calibrations(tiny, image_text=PairCalibration((5.0,), -1.0), text_text=PairCalibration((3.0,), 0.5))
    made.write(tiny / "relate.json")  # the model comes with it
    red = image("red")
    one, several, strict = post(
        {"left": "a red circle", "right": uri(red)},
        {"left": ["one", uri(red)], "right": ["two", "blue"], "prior": 0.2},
        {"left": "one", "right": "two", "threshold": 0.999999},
    )
    assert one.status_code == 200, one.text
    (found,) = one.json()["results"]
    (expected,) = relate(red, "a red circle", model=tiny)
    assert found["kind"] == "image-text"
    assert found["scores"]["cosine"] == pytest.approx(expected.scores[0], abs=1e-5)
    assert found["probability"] == pytest.approx(1 / (1 + math.exp(1 - 5 * found["scores"]["cosine"])), abs=1e-5)
    assert found["related"] is (found["probability"] >= 0.5)
    assert one.json()["judged_by"]["image-text"]["origin"].endswith(
        "pairs (drawn at random) of by hand (comes with tiny)"
    )
    assert [each["kind"] for each in several.json()["results"]] == ["text-text", "image-text"]
    texts = several.json()["results"][0]
    odds = math.exp(3 * texts["scores"]["cosine"] + 0.5) * 0.2 / 0.8
    assert texts["probability"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    assert several.json()["judged_by"]["text-text"]["prior"] == 0.2
    assert strict.json()["results"][0]["related"] is False


def test_a_model_with_a_side_for_queries_asks_by_it_and_finds_by_the_other(tmp_path, client_of) -> None:
    torch = pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")
    from diptych.models.heads import LinearHead

    torch.manual_seed(0)
    image, text, query = (
        TrainedSide(tower, Part("fake"), Part("linear"), LinearHead(32, 16).eval())
        for tower in (image_tower("fake"), text_tower("fake"), text_tower("fake"))
    )
    save(tmp_path / "m", name="m", image=image, text=text, query=query, dim=16, card="m", training={})
    model, texts = load(tmp_path / "m"), ["a red circle", "one blue box", "two dogs"]
    bodies = {
        "relate": {"left": texts[0], "right": texts[1]},
        "rerank": {"query": texts[0], "documents": texts[1:]},
        "embeddings": {"input": texts},
    }

    async def scenario() -> list[Any]:
        async with client_of(create_app(ServeSettings(pressure=Pressure(decoders=1)), {}, [model])) as client:
            return [(await client.post(f"/v1/{name}", json=body)).json() for name, body in bodies.items()]

    related, ranked, embedded = asyncio.run(scenario())
    asks, found = model.encode_queries(texts[0])[0], model.encode_texts(texts)
    assert abs(float(asks @ found[0])) < 0.99
    assert related["results"][0]["scores"]["cosine"] == pytest.approx(float(asks @ found[1]), abs=1e-4)
    scores = {one["index"]: one["relevance_score"] for one in ranked["results"]}
    assert [2 * scores[place] - 1 for place in (0, 1)] == pytest.approx((found[1:] @ asks).tolist(), abs=1e-4)
    assert [one["embedding"] for one in embedded["data"]] == [pytest.approx(row, abs=1e-4) for row in found.tolist()]


def test_a_calibration_may_be_given_to_the_server(post, tiny) -> None:
    made = calibrations(tiny, text_text=PairCalibration((3.0,), 0.5))
    body = {"left": "one", "right": "two"}
    (given,) = post(body, calibrations=[made])
    (without,) = post(body)
    assert given.json()["results"][0]["related"] is not None
    answer = without.json()
    assert (answer["results"][0]["related"], answer["results"][0]["probability"]) == (None, None)
    assert answer["judged_by"] == {}
    assert "nothing is calibrated for tiny and text-text pairs" in answer["notes"][0]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"left": ["a"], "right": "b", "x": 1}, 422, "bad_request", "x"),
        ({"left": ["a", "b"], "right": "b"}, 422, "bad_request", "found 2 on the left and 1 on the right"),
        ({"left": [], "right": []}, 422, "over_limit", "found 0 pairs"),
        ({"left": ["a"] * 129, "right": ["b"] * 129}, 422, "over_limit", "found 129 pairs"),
        ({"left": "a", "right": " "}, 422, "empty_text", "right[0]"),
        ({"left": "data:image/png;base64,AAAA", "right": "a"}, 415, "not_an_image", "left[0]"),
        ({"left": "a", "right": "b", "prior": 0.1}, 422, "bad_request", "nothing is calibrated for text-text"),
        ({"left": "a", "right": "b", "threshold": 1.0}, 422, "bad_request", "threshold"),
        ({"left": "a", "right": "b", "model": "none"}, 404, "no_such_model", "none"),
    ],
)
def test_what_cannot_be_asked_is_told_by_a_code(post, body: Any, status: int, code: str, message: str) -> None:
    (answer,) = post(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert message in answer.json()["message"]


def test_a_damaged_file_of_the_server_is_not_named(post, tiny) -> None:
    (tiny / "relate.json").write_text("{}")
    (answer,) = post({"left": "a", "right": "b"})
    assert answer.status_code == 503
    assert "relate.json" not in answer.text


def test_both_models_judge_where_the_cross_encoder_is_named(fitted, shapes) -> None:
    red, texts = (shapes.parent / "red-circle-30.png").read_bytes(), ["a red circle", "ein gelbes Band"]
    body = {"left": [uri(red)] * 2, "right": texts, "model": fitted.cross_encoder.name}

    async def scenario(client: Any) -> Any:
        return await client.post("/v1/relate", json=body), await client.post(
            "/v1/relate", json={**body, "left": ["a", "b"]}
        )

    answer, refused = fitted.ask(scenario)
    assert answer.status_code == 200, answer.text
    expected = relate([red] * 2, texts, model=fitted.dual_encoder, reranker=fitted.cross_encoder)
    for found, own in zip(answer.json()["results"], expected, strict=True):
        assert found["scores"]["gain a word"] == pytest.approx(own.scores[0], abs=1e-2)
        assert found["probability"] == pytest.approx(own.probability, abs=1e-2)
    assert answer.json()["model"] == f"{fitted.cross_encoder.name} with {fitted.dual_encoder.name}"
    assert str(fitted.folder) not in answer.text
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_request")


def test_from_a_client(tiny, image) -> None:
    from diptych.client import Client

    calibrations(tiny, image_text=PairCalibration((5.0,), -1.0)).write(tiny / "relate.json")
    settings = ServeSettings(port=0, pressure=Pressure(decoders=1))
    with running(create_app(settings, {}, [load(tiny)])) as server, Client(server.url) as client:
        found, texts = client.relate([(image("red"), "a dog"), ("one", "two")])
    (expected,) = relate(image("red"), "a dog", model=tiny)
    assert (found.related, found.kind) == (expected.related, "image-text")
    assert found.probability == pytest.approx(expected.probability, abs=1e-5)
    assert found.origin.endswith("(comes with tiny)")
    assert (texts.related, texts.probability, texts.origin) == (None, None, "")
    assert texts.scores.keys() == {"cosine"}
