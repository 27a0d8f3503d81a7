"""Slow, greedy and rude clients against a real server on a loopback port."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

import httpx
import pytest

from diptych.serve.settings import Limits, Pressure

QUICK = {
    "header_deadline": 0.5,
    "open_body_deadline": 1.0,
    "body_deadline": 1.0,
    "body_gap": 0.4,
    "send_deadline": 0.5,
    "keep_alive": 1,
    "decoders": 1,
}


def connect(port: int) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=10)
    found.settimeout(10)
    return found


def head(length: int, path: str = "/session") -> bytes:
    """The headers of a JSON request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def rest(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionError:
            return data
        if not piece:
            return data
        data += piece


def test_silence_and_half_headers_are_closed_in_time(serve) -> None:
    server = serve(pressure=Pressure(**QUICK))
    started = time.monotonic()
    with connect(server.port) as silent, connect(server.port) as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert rest(silent) == b""
        assert rest(half).startswith(b"HTTP/1.1 408 ")
    assert 0.3 < time.monotonic() - started < 5


def test_dribbling_headers_do_not_move_the_deadline(serve) -> None:
    server = serve(pressure=Pressure(**QUICK))
    started = time.monotonic()
    with connect(server.port) as slow:
        try:
            while time.monotonic() - started < 5:
                slow.sendall(b"G")
                time.sleep(0.05)
        except OSError:
            pass
    assert time.monotonic() - started < 4


def test_the_second_request_of_a_connection_has_the_same_deadline(serve) -> None:
    server = serve(pressure=Pressure(**QUICK))
    with connect(server.port) as client:
        client.sendall(b"GET /session HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = client.recv(65_536)
        while not answer.endswith(b"}"):  # head and body may come in two pieces
            answer += client.recv(65_536)
        assert b"200 OK" in answer
        client.sendall(b"GET /sess")
        started = time.monotonic()
        assert rest(client).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 4


def test_headers_without_end_are_refused(serve) -> None:
    server = serve(pressure=Pressure(**{**QUICK, "header_deadline": 8}), limits=Limits(header_bytes=4_000))
    with connect(server.port) as client:
        try:
            for number in range(2_000):
                client.sendall(f"X-{number}: y\r\n".encode() if number else b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        except OSError:
            pass
        assert rest(client)[:13] in (b"HTTP/1.1 431 ", b"")


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\r\n" * 9 + b"?"]
)
def test_what_is_no_http_gets_an_answer_in_our_shape(serve, junk) -> None:
    server = serve(pressure=Pressure(**QUICK))
    with connect(server.port) as client:
        client.sendall(junk)
        answer = rest(client)
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
        assert json.loads(body)["code"] in ("bad_http", "too_slow")


def test_a_body_that_dribbles_is_ended(serve) -> None:
    server = serve(pressure=Pressure(**QUICK))
    with connect(server.port) as client:
        client.sendall(head(900) + b"{")
        started = time.monotonic()
        data = b""
        try:
            while time.monotonic() - started < 6:
                client.sendall(b" ")
                time.sleep(0.1)
                client.settimeout(0.01)
                try:
                    data += client.recv(65_536)
                except TimeoutError:
                    continue
                if data:
                    break
        except OSError:
            pass
    assert data.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < 4


def test_who_sends_on_after_a_413_still_reads_the_answer(serve) -> None:
    server = serve(limits=Limits(json_bytes=1_000))
    with connect(server.port) as client:
        client.sendall(head(9_000_000))
        for _ in range(20):
            client.sendall(b" " * 65_536)
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_when_there_are_too_many_the_one_that_dawdled_longest_goes(serve) -> None:
    server = serve(pressure=Pressure(connections=8, decoders=1))
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server.port)) for _ in range(8)]
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/session").status_code == 200
        assert rest(idle[0]) == b""


def test_an_ordinary_client_is_served_among_many_slow_ones(serve) -> None:
    server = serve(pressure=Pressure(header_deadline=3, body_gap=3, decoders=1))
    with ExitStack() as stack:
        for number in range(120):
            slow = stack.enter_context(connect(server.port))
            if number % 2:
                slow.sendall(b"GET / HTTP/1.1\r\nHost: local")
            else:
                slow.sendall(
                    b"POST /libraries/colours/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
                )
        with httpx.Client(base_url=server.url) as client:
            statuses = [client.post("/libraries/colours/search", json={"text": "red"}).status_code for _ in range(40)]
    assert statuses == [200] * 40


def was_dropped(client: socket.socket, request: bytes) -> bool:
    """Whether the other side ends the connection while we send on and read nothing."""
    try:
        for _ in range(400):
            client.sendall(request)
            time.sleep(0.02)
    except OSError:  # a reset or a broken pipe, as the system likes
        return True
    return False


def test_who_does_not_read_is_dropped(serve, site) -> None:
    server = serve(pressure=Pressure(**QUICK))
    body = json.dumps({"input": ["red"] * 128}).encode()
    with connect(server.port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        assert was_dropped(client, head(len(body), "/v1/embeddings") + body)
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_accepted_requests_are_finished_when_the_server_stops(serve, site) -> None:
    import threading

    calm = site.encoder.encode_texts
    server = serve()
    site.encoder.encode_texts = lambda texts: (time.sleep(0.7), calm(texts))[1]
    answers = []

    def ask():
        answers.append(
            httpx.post(f"{server.url}/libraries/colours/search", json={"text": "red"}, timeout=20).status_code
        )

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    server.stop()
    asking.join()
    assert answers == [200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/session")


def one_answer(client: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the next answer on a connection that is kept."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65_536)
    top, _, body = data.partition(b"\r\n\r\n")
    length = int(top.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65_536)
    return top, body


def test_a_flood_is_turned_away_at_once_and_on_the_same_connection(serve, site) -> None:
    import threading

    calm = site.encoder.encode_texts
    server = serve(pressure=Pressure(in_flight=2, per_client=2, decoders=1))
    over = threading.Event()
    site.encoder.encode_texts = lambda texts: (over.wait(30), calm(texts))[1]
    body = json.dumps({"text": "red"}).encode()
    search = head(len(body), "/libraries/colours/search") + body
    holders = [
        threading.Thread(
            target=httpx.post, args=(f"{server.url}/libraries/colours/search",), kwargs={"json": {"text": t}}
        )
        for t in ("red", "blue")
    ]
    for holder in holders:
        holder.start()
    for _ in range(100):
        time.sleep(0.02)
        if server.application.admission.in_flight == 2:
            break
    with connect(server.port) as client:
        started = time.monotonic()
        for _ in range(20):
            client.sendall(search)
            top, told = one_answer(client)
            assert top.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in top
            assert set(json.loads(told)) == {"code", "message", "hint", "request_id"}
        assert time.monotonic() - started < 2
        over.set()
        for holder in holders:
            holder.join()
        site.encoder.encode_texts = calm
        client.sendall(search)
        assert one_answer(client)[0].startswith(b"HTTP/1.1 200 "), "there is room again"


def test_an_unknown_query_parameter_is_refused_and_the_nearest_is_named(ask) -> None:
    async def scenario(client):
        return (
            await client.get("/libraries/colours/items", params={"limt": 3}),
            await client.get("/libraries", params={"limit": 3}),
            await client.get("/libraries/colours/items", params={"limit": 3, "after": "0" * 16}),
        )

    misspelt, none_taken, right = ask(scenario)
    assert (misspelt.status_code, none_taken.status_code, right.status_code) == (422, 422, 200)
    assert misspelt.json()["message"] == (
        "unknown query parameter 'limt'; it takes limit, after, filter, where, near, km, sort; did you mean 'limit'?"
    )
    assert none_taken.json()["message"] == "unknown query parameter 'limit'; it takes none"
    assert misspelt.json()["code"] == "bad_request"
