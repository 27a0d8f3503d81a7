"""`only_relevant` in a search over HTTP: what is left out and counted, and what cannot be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from diptych.client import Client
from diptych.evaluation.calibrations import Calibrations
from diptych.evaluation.pair_calibration import Cut, PairCalibration
from diptych.serve.app import create_app
from diptych.serve.settings import Pressure, ServeSettings

from .conftest import running

S = "/libraries/colours/search"
RELEVANT = {"text": "red", "k": 6, "only_relevant": True}


@pytest.fixture
def app(site) -> Callable[..., Any]:
    """The service with a calibration for which a cosine of `line` is enough; without one for None."""

    def made(line: float | None, has_cut: bool = True) -> Any:
        pair = PairCalibration((10.0,), -10.0 * (line or 0.0), cut=Cut(0.5, 0.97, 0.1) if has_cut else None)
        kept = Calibrations(site.encoder.fingerprint, "mosaic", ("cosine",), "colours", {"image-text": pair})
        settings = ServeSettings(port=0, pressure=Pressure(decoders=1))
        given = [] if line is None else [kept]
        return create_app(settings, {"colours": site.folder}, [site.encoder], calibrations=given)

    return made


def test_hits_that_hardly_belong_are_left_out_and_counted(app, client_of) -> None:
    async def scenario(application: Any, *bodies: Any) -> Any:
        async with client_of(application) as client:
            listed = (await client.get("/libraries/colours")).json()["features"]["relevant"]
            return [listed, *[await client.post(S, json=body) for body in bodies]]

    listed, plain, refused = asyncio.run(scenario(app(None), {"text": "red", "k": 6}, RELEVANT))
    scores = [hit["score"] for hit in plain.json()["hits"]]
    assert (listed, plain.json()["hidden"], plain.json()["hits"][0]["belongs"]) == (False, 0, None)
    assert (refused.status_code, refused.json()["code"]) == (422, "not_calibrated")
    assert "fit it with diptych relate --calibrate SOURCE" in refused.json()["message"]

    line = (scores[1] + scores[2]) / 2
    of_image = {"image": {"id": plain.json()["hits"][0]["id"]}, "only_relevant": True}
    bad = {"terms": [{"text": "red"}], "only_relevant": True}
    listed, found, by_image, sum_of_terms = asyncio.run(scenario(app(line), RELEVANT, of_image, bad))
    assert listed is True
    assert [hit["score"] for hit in found.json()["hits"]] == scores[:2]
    assert found.json()["hidden"] == 4
    assert found.json()["hits"][0]["belongs"] > found.json()["hits"][1]["belongs"] > 0.5
    assert "belongs" not in found.json()["hits"][0]["meta"]
    assert (by_image.status_code, by_image.json()["code"]) == (422, "not_calibrated")  # no images with images
    assert (sum_of_terms.status_code, sum_of_terms.json()["code"]) == (422, "bad_request")
    listed, old = asyncio.run(scenario(app(line, has_cut=False), RELEVANT))
    assert (listed, old.status_code) == (False, 422)


def test_from_a_client(app) -> None:
    with running(app(2.0)) as server, Client(server.url) as client:
        found = client.search("colours", "red", 6, only_relevant=True)
    assert (found.hits, found.hidden, found.total) == ((), 6, 6)
