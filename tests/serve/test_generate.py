"""Drawing images over HTTP, with a small generator: colour waves that depend on words and seed alone."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych.serve.app import create_app
from diptych.serve.generating import Generator
from diptych.serve.settings import Pressure, ServeSettings

from .conftest import Waves


@pytest.fixture
def draw(site, client_of):
    def asked(*bodies: dict[str, Any], **changes: Any) -> list[Any]:
        async def whole() -> list[Any]:
            settings = ServeSettings(pressure=Pressure(decoders=1), **changes)
            application = create_app(settings, {"colours": site.folder}, [site.encoder], generator=Waves())
            async with client_of(application) as client:
                answers = [await client.post("/generate", json=body) for body in bodies]
                image = answers[0].json().get("images", [{}])[0].get("data")
                if image:
                    like = {"image": {"data": image}, "k": 1}
                    answers.append(await client.post("/libraries/colours/search", json=like))
                answers.append(await client.get("/libraries"))
                return answers

        return asyncio.run(whole())

    return asked


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_it_is_a_generator() -> None:
    assert isinstance(Waves(), Generator)


def test_equal_seeds_give_equal_images_and_they_find_their_like(draw) -> None:
    body = {"text": "blue", "seed": 5, "count": 2}
    one, again, other, search, listed = draw(body, body, {**body, "seed": 6})
    assert one.json() == again.json()
    assert one.json()["images"] != other.json()["images"]
    first, second = (pixels_of(image["data"]) for image in one.json()["images"])
    assert np.array_equal(np.stack([first, second]), Waves().generate(["blue", "blue"], seed=5))
    assert (one.json()["model"], one.json()["seed"]) == ("waves", 5)
    assert search.json()["hits"][0]["name"] == "blue.png"
    assert listed.json()["libraries"][0]["features"]["generate"] is True


def test_without_a_seed_a_new_one_is_drawn_and_told(draw) -> None:
    one, other, *_ = draw({"text": "red"}, {"text": "red"})
    seeds = {one.json()["seed"], other.json()["seed"]}
    assert len(seeds) == 2
    (again, *_) = draw({"text": "red", "seed": one.json()["seed"]})
    assert again.json() == one.json()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"text": "  "}, "empty_text"),
        ({"text": "nothing"}, "empty_text"),
        ({"text": "red", "seed": -1}, "bad_request"),
        ({"text": "red", "seed": 2**31}, "bad_request"),
        ({"text": "red", "count": 9}, "bad_request"),
        ({"text": "red", "language": "no language"}, "bad_request"),
        ({"text": "r" * 1001}, "bad_request"),
    ],
)
def test_what_cannot_be_drawn(draw, body, code) -> None:
    answer = draw(body)[0]
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
