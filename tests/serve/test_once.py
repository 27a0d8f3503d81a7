"""Idempotency keys: a write that is sent twice is done once and answered twice."""

from __future__ import annotations

import asyncio
import io
import time

import pytest

from diptych.serve.errors import ServeError, no_item, overloaded
from diptych.serve.once import Once
from diptych.serve.settings import Pressure

from .conftest import encoded

L = "/libraries/colours"


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_a_repeat_has_the_same_answer_and_nothing_is_done_twice(ask) -> None:
    async def scenario(client):
        identifier = (await client.get(f"{L}/items")).json()["items"][0]["id"]
        answers = {}
        for name, method, path, body in (
            ("delete", "POST", f"{L}/items/delete", {"json": {"ids": [identifier]}}),
            ("undo", "POST", f"{L}/undo", {}),
            ("patch", "PATCH", f"{L}/items/{identifier}", {"json": {"meta": {"mood": "calm"}}}),
            ("one", "DELETE", f"{L}/items/{identifier}", {}),
            ("upload", "POST", f"{L}/items", {"files": {"files": ("new.png", encoded((1, 2, 3)))}}),
        ):
            if name == "undo":
                body = {"json": {"token": answers["delete"][0].json()["undo"]}}
            answers[name] = [await client.request(method, path, headers=keyed(name), **body) for _ in range(2)]
        return answers, (await client.get(f"{L}/items")).json()["total"]

    answers, total = ask(scenario)
    for name, (first, second) in answers.items():
        assert first.status_code == second.status_code == 200, (name, first.text, second.text)
        assert first.json() == second.json(), name
    assert answers["delete"][1].json()["undo"], "the token is not lost"
    assert answers["undo"][1].json() == {"restored": 1}
    assert answers["upload"][1].json()["created"] == 1
    assert total == 6, "six, one of them deleted, one added"


def test_a_key_belongs_to_one_request(ask) -> None:
    async def scenario(client):
        first, second = [one["id"] for one in (await client.get(f"{L}/items")).json()["items"][:2]]
        ask_for = {"ids": [first]}
        asked = [
            await client.post(f"{L}/items/delete", json=body, headers=keyed("k"))
            for body in (ask_for, {"ids": [second]})
        ]
        asked.append(await client.post(f"{L}/undo", json={"token": asked[0].json()["undo"]}, headers=keyed("k")))
        files = [{"files": ("a.png", encoded("red", mark=mark))} for mark in (1, 2)]
        asked += [await client.post(f"{L}/items", files=one, headers=keyed("u")) for one in files]
        asked.append(await client.post(f"{L}/undo", json={"token": "x"}, headers=keyed("k" * 256)))
        return asked

    good, other_body, other_path, upload, other_file, long = ask(scenario)
    assert (good.status_code, upload.status_code) == (200, 200)
    for refused in (other_body, other_path, other_file):
        assert (refused.status_code, refused.json()["code"]) == (422, "key_reused")
    assert (long.status_code, long.json()["code"]) == (422, "bad_request")


def test_a_repeat_waits_for_the_first_even_when_that_ran_out_of_time(ask, site) -> None:
    calm = site.encoder.encode_pixels

    async def scenario(client):
        site.encoder.encode_pixels = lambda pixels: (time.sleep(0.8), calm(pixels))[1]
        files = {"files": ("new.png", encoded((9, 8, 7)))}
        late = await client.post(f"{L}/items", files=files, headers=keyed("slow"))
        for _ in range(40):
            repeat = await client.post(f"{L}/items", files=files, headers=keyed("slow"))
            if repeat.status_code != 503:
                break
        return late, repeat

    late, repeat = ask(scenario, pressure=Pressure(decoders=1, deadline=0.5))
    assert (late.status_code, late.json()["code"]) == (503, "deadline_exceeded")
    assert repeat.status_code == 200
    assert repeat.json()["created"] == 1, "the write that was made, not a second one"


def test_what_passes_is_tried_again_and_what_does_not_is_remembered() -> None:
    once, done = Once(), []

    async def busy():
        done.append("busy")
        raise overloaded("busy")

    async def gone():
        done.append("gone")
        raise no_item("0")

    async def scenario():
        for work in (busy, busy, gone, gone):
            with pytest.raises(ServeError):
                await once.run(work.__name__, "said", work)
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert done == ["busy", "busy", "gone"]


def test_what_is_remembered_is_bounded_in_number_and_time() -> None:
    async def work():
        return 1

    async def scenario():
        few = Once(most=3)
        for at in range(10):
            await few.run(str(at), "said", work)
        brief = Once(seconds=0.0)
        for at in range(3):
            await brief.run(str(at), "said", work)
        return len(few), len(brief)

    assert asyncio.run(scenario()) == (3, 1)


def test_a_stream_of_a_form_is_read_from_its_start_again() -> None:
    from diptych.serve.once import _digest_of

    stream = io.BytesIO(b"x" * 3_000_000)
    assert _digest_of(stream) == _digest_of(stream)
    assert stream.read(1) == b"x"
