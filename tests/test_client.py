"""The client against a real server: both kinds do the same and give the same."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="serving needs the [serve] extra")

from diptych import client as module
from diptych.client import AsyncClient, Client, ServerError, Term
from diptych.serve.settings import new_token

from .serve.conftest import Waves, encoded, made, serve, site  # noqa: F401 - fixtures

L = "colours"


def test_searching_adding_describing_deleting(serve, site, tmp_path) -> None:  # noqa: F811
    token = new_token()
    file = tmp_path / "purple.png"
    file.write_bytes(encoded((160, 0, 160)))
    with Client(serve(token=token).url, token=token) as client:
        (library,) = client.libraries()
        assert (library.name, library.images, library.features["write"]) == (L, 6, True)
        assert client.search(L, "red", k=1).hits[0].meta["name"] == "red.png"
        assert client.search(L, encoded("blue"), k=1).hits[0].meta["name"] == "blue.png"
        vector = site.encoder.encode_texts(["green"])[0]
        assert client.search(L, vector, k=1).hits[0].meta["name"] == "green.png"
        assert client.search(L, [Term("red blue"), Term(encoded("blue"), -1)], k=1).hits[0].meta["name"] == "red.png"
        odd = client.search(L, "red", filter=[{"column": "album", "value": "odd"}])
        assert (odd.total, len(odd.hits)) == (3, 3)
        good, bad = client.add(L, [file, b"nothing"], meta={"mood": "royal"}, texts=["a purple thing"])
        assert (good.created, good.error, bad.id) == (True, None, None)
        assert bad.error is not None
        assert bad.error[0] == "not_an_image"
        item = client.item(L, str(good.id))
        assert (item.name, item.texts, item.meta["mood"]) == ("purple.png", ("a purple thing",), "royal")
        assert client.like(L, item.id, k=2).hits[0].id != item.id
        assert client.describe(L, item.id, meta={"mood": None}).meta == {}
        assert client.thumbnail(L, item.id).startswith(b"\xff\xd8")
        (row,) = json.loads(client.export(L, [item.id], format="json"))
        assert (row["id"], row["name"], row["texts"]) == (item.id, "purple.png", ["a purple thing"])
        assert client.export(L, [item.id]).decode().splitlines()[1].startswith(item.id)
        page = client.items(L, limit=4)
        rest = client.items(L, limit=4, after=page.next)
        assert len({one.id for one in page.items + rest.items}) == 7
        gone = client.delete(L, [item.id])
        assert gone.deleted == 1
        assert client.undo(L, str(gone.undo)) == 1
        vectors = client.embed(["red", encoded("red")])
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert client.rerank("red", ["blue", "red"])[0][0] == 1
        (label,) = client.classify([encoded("red")], {"cold": "blue", "warm": ["red", "orange"]}, templates="plain")
        assert (label.label, label.scored_by, [name for name, _ in label.scores]) == (
            "warm",
            "cosine",
            ["warm", "cold"],
        )


def test_the_other_kind_gives_the_same(serve) -> None:  # noqa: F811
    url = serve().url
    with Client(url) as client:
        expected = client.search(L, "red", k=3).hits
        assert [hit.rank for hit in expected] == [0, 1, 2]  # places of a Python list; the JSON counts from 1

    async def scenario():
        async with AsyncClient(url) as client:
            found = await asyncio.gather(*(client.search(L, "red", k=3) for _ in range(4)))
            added = await client.add(L, [encoded((1, 2, 3))])
            gone = await client.delete(L, [str(added[0].id)])
            return [one.hits for one in found], gone.deleted, await client.undo(L, str(gone.undo))

    found, deleted, restored = asyncio.run(scenario())
    assert found == [expected] * 4
    assert (deleted, restored) == (1, 1)


def test_why_and_drawing_and_what_is_not_there(serve, site) -> None:  # noqa: F811
    url = serve(generator=Waves()).url
    with Client(url) as client:
        hit = client.search(L, "red blue", k=1, explain=True).hits[0]
        why = client.why(L, hit.id, "red blue")
        assert [word.word for word in why.words] == ["red", "blue"]
        assert np.array_equal(why.words[0].regions, hit.meta["why"].words[0].regions)
        assert why.words[0].regions.shape == (8, 8)
        assert why.overlay is not None
        assert why.overlay.startswith(b"\x89PNG")
        assert (hit.meta["why"].overlay, why.by, why.unit) == (None, "occlusion", "cosine")
        drawn = client.generate("blue", count=2)
        assert client.generate("blue", count=2, seed=drawn.seed) == drawn
        assert client.search(L, drawn.images[1], k=1).hits[0].meta["name"] == "blue.png"
        for refused in (
            lambda: client.caption(encoded("red")),
            lambda: client.search(L, "red", rerank=True),
            lambda: client.why(L, hit.id, "red", by="attention"),
        ):
            with pytest.raises(ServerError) as error:
                refused()
            assert (error.value.status, error.value.code) == (404, "no_such_model")

    async def scenario():
        async with AsyncClient(url) as client:
            return await client.why(L, hit.id, "red blue"), await client.generate("blue", seed=drawn.seed, count=2)

    again, same = asyncio.run(scenario())
    assert again.overlay == why.overlay
    assert same == drawn


def test_both_kinds_have_the_same_calls() -> None:
    def calls(kind):
        return {
            name: str(inspect.signature(value)).replace("Awaitable", "")
            for name, value in vars(kind).items()
            if not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)


def test_a_no_of_the_server_is_an_error_with_its_parts(serve) -> None:  # noqa: F811
    with Client(serve().url) as client, pytest.raises(ServerError) as refused:
        client.search("none", "red")
    assert (refused.value.status, refused.value.code) == (404, "no_such_library")
    assert len(refused.value.request_id) == 32


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServerError, match="cannot be reached"):
        client.libraries()


@contextmanager
def losing(port: int, answers: int) -> Iterator[tuple[str, list[str]]]:
    """A proxy that lets every request through and closes the connection instead of answering, the first few times."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def exchange(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            request = _message(client)
            seen.append(request.split(b" HTTP", 1)[0].decode())
            server.sendall(request)
            answer = _message(server)
            if len(seen) > answers:
                client.sendall(answer)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            exchange(client)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _message(stream: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += stream.recv(65_536)
    top, _, body = data.partition(b"\r\n\r\n")
    stated = re.search(rb"(?i)content-length: (\d+)", top)
    while len(body) < int(stated[1] if stated else 0):
        body += stream.recv(65_536)
    return top + b"\r\n\r\n" + body


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(module, "_BROKEN_PAUSE", 0.01)


def test_a_write_whose_answer_was_lost_is_done_once_and_answered(serve, site, quick) -> None:  # noqa: F811
    server = serve()
    with Client(server.url) as direct:
        first, second, *_ = [one.id for one in direct.items(L).items]
        with losing(server.port, 1) as (url, seen), Client(url) as client:
            gone = client.delete(L, [first])
        assert (len(seen), gone.deleted) == (2, 1)
        with losing(server.port, 2) as (url, seen), Client(url) as client:
            assert client.undo(L, str(gone.undo)) == 1
        assert len(seen) == 3
        with losing(server.port, 1) as (url, seen), Client(url) as client:
            (added,) = client.add(L, [encoded((7, 7, 7))])
            assert client.describe(L, second, meta={"mood": "calm"}).meta["mood"] == "calm"
        assert added.created, "it was, by the first of the two requests"
        assert len(direct.items(L).items) == 7

    async def scenario():
        with losing(server.port, 1) as (url, seen):
            async with AsyncClient(url) as client:
                gone = await client.delete(L, [first])
                return gone, await client.search(L, "red", k=1), len(seen)

    gone, found, requests = asyncio.run(scenario())
    assert (gone.deleted, requests, len(found.hits)) == (1, 3, 1)
    with Client(server.url) as direct:
        assert direct.undo(L, str(gone.undo)) == 1


def test_a_server_that_never_answers_is_told_apart_from_one_that_is_not_there(serve, quick) -> None:  # noqa: F811
    server = serve()
    with Client(server.url) as direct:
        first = direct.items(L).items[0].id
    with losing(server.port, 99) as (url, seen), Client(url) as client:
        with pytest.raises(ServerError, match="may have been done") as refused:
            client.delete(L, [first])
        assert (refused.value.status, refused.value.code, len(seen)) == (0, "unanswered", 4)
        with pytest.raises(ServerError, match="did not answer"):
            client.search(L, "red")
    with Client(server.url) as direct:
        assert len(direct.items(L).items) == 5


def test_who_is_no_server_of_ours_is_said() -> None:
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])):
        with (
            Client(transport=httpx.MockTransport(lambda request, answer=answer: answer)) as client,
            pytest.raises(ServerError, match="not one of diptych serve"),
        ):
            client.libraries()


def test_busy_answers_are_tried_again(monkeypatch) -> None:
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    answers = [
        httpx.Response(503, headers={"Retry-After": "2"}, json={"code": "overloaded", "message": "x"}),
        httpx.Response(429, headers={"Retry-After": "99"}, json={}),
        httpx.Response(200, json={"libraries": []}),
    ]
    with Client(transport=httpx.MockTransport(lambda request: answers.pop(0))) as client:
        assert client.libraries() == ()
    assert pauses == [2.0, 10.0]


def test_but_not_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with (
        Client(transport=httpx.MockTransport(lambda request: httpx.Response(503, text="no"))) as client,
        pytest.raises(ServerError) as refused,
    ):
        client.libraries()
    assert refused.value.status == 503
