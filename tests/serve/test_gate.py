"""Who may ask, how much at once, how large, how slow: the gate in front of everything."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from diptych.serve.gate import Gate
from diptych.serve.metrics import Metrics
from diptych.serve.settings import Limits, Pressure, ServeSettings, new_token

TOKEN = new_token()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io:8000", "192.168.0.4"])
def test_another_host_name_is_refused(ask, host) -> None:
    async def scenario(client):
        return await client.get("/libraries", headers={"Host": host})

    answer = ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "[::1]:8000", "LOCALHOST:8000"])
def test_our_own_names_are_welcome(ask, host) -> None:
    async def scenario(client):
        return await client.get("/libraries", headers={"Host": host})

    assert ask(scenario).status_code == 200


def test_a_further_name_can_be_allowed(ask) -> None:
    async def scenario(client):
        return await client.get("/libraries", headers={"Host": "photos.home:8000", "Origin": "http://photos.home:8000"})

    assert ask(scenario, allowed_hosts=("photos.home",)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_a_page_of_another_origin_is_refused(ask, headers) -> None:
    async def scenario(client):
        return await client.post("/libraries/colours/search", json={"text": "red"}, headers=headers)

    answer = ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_following_a_link_here_is_no_attack(ask) -> None:
    async def scenario(client):
        return await client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})

    assert ask(scenario).status_code == 200


def test_every_answer_has_the_headers(ask) -> None:
    async def scenario(client):
        return [await client.get(path) for path in ("/", "/libraries", "/nothing", "/metrics", "/static/../gate.py")]

    for answer in ask(scenario):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers
        assert len(answer.headers["x-request-id"]) == 32


def test_a_token_is_asked_for(ask) -> None:
    async def scenario(client):
        given = [
            {},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Cookie": "diptych_session=x"},
            {"Cookie": f"diptych_session={TOKEN}"},
            {"Authorization": "Bearer \xff".encode("latin-1")},
        ]
        refused = [await client.get("/libraries", headers=headers) for headers in given]
        open_to_all = [await client.get(path) for path in ("/", "/health", "/session")]
        told = await client.get("/libraries", headers={"Authorization": f"Bearer {TOKEN}"})
        return refused, open_to_all, told

    refused, open_to_all, told = ask(scenario, token=TOKEN)
    assert {(one.status_code, one.json()["code"]) for one in refused} == {(401, "unauthorized")}
    assert all("www-authenticate" in one.headers for one in refused)
    assert [one.status_code for one in open_to_all] == [200] * 3
    assert open_to_all[2].json()["ready"] is False
    assert told.status_code == 200


def test_the_page_gets_a_session_that_does_not_hold_the_token(ask) -> None:
    async def scenario(client):
        wrong = await client.post("/session", json={"token": "guess"})
        right = await client.post("/session", json={"token": TOKEN})
        return wrong, right, await client.get("/libraries")

    wrong, right, after = ask(scenario, token=TOKEN)
    assert wrong.status_code == 401
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/libraries", 405, "method_not_allowed"),
        ("OPTIONS", "/libraries", 405, "method_not_allowed"),
        ("GET", "/libraries/none", 404, "no_such_library"),
        ("GET", "/libraries/", 404, "not_found"),
        ("GET", "/static/..%2fgate.py", 404, "not_found"),
        ("GET", "/static/__init__.py", 404, "not_found"),
    ],
)
def test_errors_of_routing_have_the_shape_too(ask, method, path, status, code) -> None:
    async def scenario(client):
        return await client.request(method, path)

    answer = ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'"text"', b"[" * 100_000, b'{"text": "\\ud800"}', b""])
def test_odd_bodies_are_answers_not_defects(ask, body) -> None:
    async def scenario(client):
        return await client.post(
            "/libraries/colours/search", content=body, headers={"Content-Type": "application/json"}
        )

    answer = ask(scenario)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"code", "message", "hint", "request_id"}


SMALL = Limits(json_bytes=1_000, image_json_bytes=2_000, upload_bytes=3_000)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(
    ("path", "kind", "most"),
    [
        ("/session", "application/json", 1_000),
        ("/v1/embeddings", "application/json", 2_000),
        ("/libraries/colours/items", "multipart/form-data; boundary=x", 3_000),
    ],
)
def test_a_body_over_its_limit_is_refused_whether_it_says_so_or_not(ask, path, kind, most, stated) -> None:
    sent = 0

    async def pieces():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(most // 100 * 10):
            sent += 100
            yield b" " * 100

    async def scenario(client):
        content = b" " * (most + 1) if stated else pieces()
        return await client.post(path, content=content, headers={"Content-Type": kind})

    answer = ask(scenario, limits=SMALL)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), answer.text
    assert sent <= most + 200, "the rest was not even asked for"


def test_a_slow_body_gets_a_408(ask) -> None:
    async def pieces():
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    async def scenario(client):
        return await client.post("/session", content=pieces(), headers={"Content-Type": "application/json"})

    answer = ask(scenario, pressure=Pressure(body_gap=0.2, decoders=1))
    assert (answer.status_code, answer.json()["code"]) == (408, "too_slow")


def test_too_much_at_once_is_turned_away_and_the_rest_is_served(ask, site) -> None:
    import time

    calm = site.encoder.encode_texts

    def slow(texts):
        time.sleep(0.2)
        return calm(texts)

    async def scenario(client):
        site.encoder.encode_texts = slow
        bodies = [{"text": f"red {number}", "k": 1} for number in range(12)]
        answers = await asyncio.gather(*(client.post("/libraries/colours/search", json=one) for one in bodies))
        return answers, await client.get("/health"), await client.get("/libraries")

    pressure = Pressure(in_flight=4, per_client=100, decoders=1)
    answers, health, after = ask(scenario, pressure=pressure)
    statuses = sorted(one.status_code for one in answers)
    assert statuses == [200] * 4 + [503] * 8
    assert all(one.headers["retry-after"] == "1" for one in answers if one.status_code == 503)
    assert health.status_code == 200, "whoever watches the server still gets an answer"
    assert after.status_code == 200


def test_one_client_cannot_take_all_places(ask, site) -> None:
    import time

    calm = site.encoder.encode_texts

    def slow(texts):
        time.sleep(0.1)
        return calm(texts)

    async def scenario(client):
        site.encoder.encode_texts = slow
        asked = [client.post("/libraries/colours/search", json={"text": f"red {n}"}) for n in range(6)]
        return [one.status_code for one in await asyncio.gather(*asked)]

    assert sorted(ask(scenario, pressure=Pressure(per_client=2, decoders=1))) == [200, 200, 429, 429, 429, 429]


def test_a_request_past_its_deadline_is_a_503(ask, site) -> None:
    import time

    calm = site.encoder.encode_texts

    async def scenario(client):
        site.encoder.encode_texts = lambda texts: (time.sleep(0.6), calm(texts))[1]
        late = await client.post("/libraries/colours/search", json={"text": "red"})
        site.encoder.encode_texts = calm
        await asyncio.sleep(0.6)
        return late, await client.post("/libraries/colours/search", json={"text": "red"})

    late, after = ask(scenario, pressure=Pressure(deadline=0.2, decoders=1))
    assert (late.status_code, late.json()["code"]) == (503, "deadline_exceeded")
    assert "retry-after" in late.headers
    assert after.status_code == 200


def test_a_defect_is_logged_under_its_request_id_and_told_without_a_path(ask, site, caplog, monkeypatch) -> None:
    from diptych.library import Library

    def broken(self):
        raise OSError(5, "Input/output error", str(site.folder))

    async def scenario(client):
        monkeypatch.setattr(Library, "columns", broken)
        return await client.get("/libraries/colours")

    with caplog.at_level(logging.ERROR, "diptych.serve"):
        answer = ask(scenario)
    assert answer.status_code == 500
    assert str(site.folder) not in answer.text
    assert answer.json()["request_id"] in caplog.text


def test_a_405_names_all_methods_of_the_path(ask) -> None:
    async def scenario(client):
        return await client.put("/libraries/colours/items/0123456789abcdef"), await client.put("/")

    item, page = ask(scenario)
    assert item.headers["allow"] == "DELETE, GET, PATCH"
    assert page.headers["allow"] == "GET"


def test_the_bytes_that_are_held_are_measured(ask) -> None:
    async def scenario(client):
        async def pieces():
            yield b"x" * 5_000
            seen.append((await client.get("/metrics")).text)
            yield b"y"

        await client.post("/v1/embeddings", content=pieces())
        return seen[0], (await client.get("/metrics")).text

    seen: list[str] = []
    during, after = ask(scenario)
    assert "diptych_receiving_bytes 5000.0" in during
    assert "diptych_receiving_bytes 0.0" in after


def test_each_piece_of_an_answer_has_the_whole_deadline() -> None:
    async def slowly(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for place in range(4):
            await asyncio.sleep(0.2)
            await send({"type": "http.response.body", "body": b"x", "more_body": place < 3})

    gate = Gate(slowly, ServeSettings(pressure=Pressure(deadline=0.4)), Metrics())

    async def scenario() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gate), base_url="http://localhost") as client:
            return (await client.get("/libraries")).text

    assert asyncio.run(scenario()) == "xxxx"
