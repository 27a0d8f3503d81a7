"""Floods without a token, against a real server on loopback: a search with the token is answered all the same."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter

import httpx
import pytest

from diptych.core.errors import ConfigError
from diptych.serve.proxies import Proxies
from diptych.serve.settings import Pressure, ServeSettings, new_token

TOKEN = new_token()
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SEARCH = "/libraries/colours/search"


def test_a_flood_without_a_token_keeps_no_search_with_one_out(serve, site) -> None:
    """Every path that needs none, by every kind of body, from several addresses, far beyond the places there are."""
    calm = site.encoder.encode_texts
    site.encoder.encode_texts = lambda texts: (time.sleep(0.02), calm(texts))[1]
    pressure = Pressure(in_flight=6, per_client=6, open_in_flight=4, open_per_client=3, decoders=1, connections=60)
    server = serve(token=TOKEN, pressure=pressure)
    stop, seen = threading.Event(), Counter()

    def flood(address: str, method: str, path: str, body: bytes | None) -> None:
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(base_url=server.url, transport=transport, timeout=5) as client:
            while not stop.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    seen[path, client.request(method, path, content=body).status_code] += 1

    def dawdle(address: str) -> None:
        """A session whose body never comes: many of them, each on a connection of its own."""
        held: list[socket.socket] = []
        while not stop.is_set():
            with contextlib.suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", server.port), 5, source_address=(address, 0)))
                held[-1].sendall(b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{")
            stop.wait(0.01)
        for one in held:
            one.close()

    asked = [
        ("GET", "/health", None),
        ("GET", "/session", None),
        ("POST", "/session", json.dumps({"token": "guess"}).encode()),
        ("POST", "/session", b"x" * 500_000),
        ("GET", "/", None),
        ("GET", SEARCH, None),
    ]
    threads = [threading.Thread(target=flood, args=(f"127.0.0.{2 + at % 3}", *one)) for at, one in enumerate(asked * 2)]
    threads += [threading.Thread(target=dawdle, args=(f"127.0.0.{9 + at}",)) for at in range(2)]
    for thread in threads:
        thread.start()
    statuses: list[int] = []
    try:
        with httpx.Client(base_url=server.url, headers=BEARER, timeout=20) as client:
            for at in range(12):
                statuses.append(client.post(SEARCH, json={"text": f"red {at}"}).status_code)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert statuses == [200] * 12
    assert sum(seen.values()) > 20, "it was a flood"
    assert {status for path, status in seen if path == SEARCH} <= {401, 405}


def test_health_is_tried_once_a_second_however_many_ask(serve, site) -> None:
    tried = []
    calm = site.encoder.encode_texts
    server = serve()
    site.encoder.encode_texts = lambda texts: (tried.append(texts), calm(texts))[1]
    with httpx.Client(base_url=server.url) as client:
        answers = [client.get("/health").status_code for _ in range(20)]
        many = len(tried)
        time.sleep(1.05)
        client.get("/health")
    assert answers == [200] * 20
    assert many <= 3, "20 requests may take longer than a second here, but not three"
    assert len(tried) == many + 1


def test_a_session_takes_a_kilobyte_and_no_time(serve) -> None:
    server = serve(token=TOKEN, pressure=Pressure(open_body_deadline=1.5, decoders=1))
    with httpx.Client(base_url=server.url) as client:
        large = client.post("/session", json={"token": "x" * 1_000})
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        assert client.post("/session", json={"token": TOKEN}).status_code == 200
    with socket.create_connection(("127.0.0.1", server.port), 10) as slow:
        slow.sendall(b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{")
        assert slow.recv(4_096).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_for_nothing_makes_room(serve) -> None:
    server = serve(token=TOKEN, pressure=Pressure(connections=10, decoders=1))
    idle = []
    for _ in range(12):  # each asks once, and then keeps its connection
        idle.append(socket.create_connection(("127.0.0.1", server.port), 10))
        idle[-1].sendall(b"GET /session HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle[-1].recv(4_096)
    for _ in range(5):
        assert httpx.post(f"{server.url}{SEARCH}", json={"text": "red"}, headers=BEARER).status_code == 200
    for one in idle:
        one.close()


# --- behind a proxy


def slow_searches(serve, site, forwarded: list[str], trusted: tuple[str, ...]) -> Counter[int]:
    """The statuses of searches at once, each with its X-Forwarded-For."""
    calm = site.encoder.encode_texts
    server = serve(trusted_proxies=trusted, pressure=Pressure(per_client=1, max_batch=1, decoders=1))
    site.encoder.encode_texts = lambda texts: (time.sleep(0.4), calm(texts))[1]
    found: Counter[int] = Counter()

    def ask(at: int, hops: str) -> None:
        body = {"text": f"red {at}"}
        found[httpx.post(f"{server.url}{SEARCH}", json=body, headers={"X-Forwarded-For": hops}).status_code] += 1

    threads = [threading.Thread(target=ask, args=one) for one in enumerate(forwarded)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_clients_behind_a_trusted_proxy_are_told_apart(serve, site) -> None:
    hops = ["203.0.113.1", "203.0.113.2", "9.9.9.9, 203.0.113.3", "2001:db8:1::1"]
    assert slow_searches(serve, site, hops, ("127.0.0.1",)) == {200: 4}


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
def test_nobody_else_is_believed(serve, site, trusted) -> None:
    hops = [f"203.0.113.{at}" for at in range(4)]
    found = slow_searches(serve, site, hops, trusted)
    assert found[429] >= 1
    assert found[200] < 4


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7"], "198.51.100.7"),  # what the client itself wrote stands first
        (["1.1.1.1", "198.51.100.7, 10.0.0.3"], "198.51.100.7"),  # several headers, a second proxy of ours
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["[2001:db8:0:1::5]:4711"], "2001:db8:0:1::/64"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["10.0.0.9, 10.0.0.3"], "10.0.0.9"),  # all of them ours: the farthest
        (["1.1.1.1, unknown"], "10.0.0.2"),
        (["nonsense, 10.0.0.3"], "10.0.0.3"),
        ([], "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_proxy_of_ours(hops, client) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in hops]
    assert Proxies(["10.0.0.0/8"]).client("10.0.0.2", headers) == client
    assert Proxies(["10.0.0.0/8"]).client("192.0.2.1", headers) == "192.0.2.1", "that one is no proxy of ours"


def test_a_proxy_that_is_no_address_is_an_error() -> None:
    with pytest.raises(ConfigError, match="trusted-proxy"):
        Proxies(["proxy.example"])


def test_behind_a_proxy_no_answer_names_a_folder_and_the_cookie_is_secure(serve) -> None:
    assert ServeSettings().shows_paths
    assert not ServeSettings(trusted_proxies=("127.0.0.1",)).shows_paths
    assert not ServeSettings(allowed_hosts=("photos.example",)).shows_paths
    server = serve(token=TOKEN, trusted_proxies=("127.0.0.1",))
    for headers, secure in (({"X-Forwarded-Proto": "https"}, True), ({}, False)):
        answer = httpx.post(f"{server.url}/session", json={"token": TOKEN}, headers=headers)
        assert ("Secure" in answer.headers["set-cookie"]) is secure
    mine = {"Authorization": f"Bearer {TOKEN}"}
    codes = {
        column: httpx.get(f"{server.url}/libraries/colours/facets", params={"column": column}, headers=mine).status_code
        for column in ("path", "folder", "source", "name")
    }
    assert codes == {"path": 422, "folder": 422, "source": 422, "name": 200}
