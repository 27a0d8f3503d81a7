"""Fetching by address: only https, only public addresses, the checked address is the one connected to."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from diptych.serve.errors import ServeError
from diptych.serve.fetching import Fetcher, is_public

PUBLIC = "93.184.216.34"


def body(data: bytes) -> httpx.Response:
    async def pieces():
        yield data

    return httpx.Response(200, content=pieces())


def fetch(url, answers, addresses=(PUBLIC,), limit=1000, seconds=5.0):
    """Fetch with a made-up network; gives the body and the requests that were made."""
    seen = []

    async def resolver(host, port):
        found = addresses(host) if callable(addresses) else addresses
        return list(found)

    async def handler(request):
        seen.append(request)
        return await answers(request) if asyncio.iscoroutinefunction(answers) else answers(request)

    fetcher = Fetcher(resolver=resolver, transport=httpx.MockTransport(handler), seconds=seconds)
    return asyncio.run(fetcher.fetch(url, limit)), seen


def test_the_checked_address_is_the_one_connected_to() -> None:
    found, (request,) = fetch("https://images.example/a.jpg?x=1", lambda request: body(b"data"))
    assert found == b"data"
    assert request.url.host == PUBLIC
    assert str(request.url).endswith("/a.jpg?x=1")
    assert request.headers["host"] == "images.example"
    assert request.extensions["sni_hostname"] == "images.example"
    assert "cookie" not in request.headers
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example/a.jpg", "file:///etc/passwd", "ftp://x/a", "https://user:pass@x.example/a", "https:///a",
        "https://images.example:99999/", "gopher://x", "", "https://[::1/",
    ],
)  # fmt: skip
def test_other_schemes_and_odd_addresses_are_refused(url) -> None:
    with pytest.raises(ServeError) as refused:
        fetch(url, lambda request: httpx.Response(200, content=b"data"))
    assert refused.value.code == "not_fetched"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "ff02::1",
        "2002:7f00:1::", "64:ff9b::7f00:1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address) -> None:
    assert not is_public(address)
    with pytest.raises(ServeError):
        fetch("https://images.example/", lambda request: httpx.Response(200), addresses=(address,))
    with pytest.raises(ServeError):
        fetch("https://images.example/", lambda request: httpx.Response(200), addresses=(PUBLIC, address))


def test_public_ones_are_fine() -> None:
    assert is_public(PUBLIC)
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")


def test_every_redirect_is_checked_again() -> None:
    def answers(request):
        return httpx.Response(302, headers={"Location": "https://inside.example/secret"})

    def addresses(host):
        return ["10.0.0.1"] if host == "inside.example" else [PUBLIC]

    with pytest.raises(ServeError, match="not a public one"):
        fetch("https://images.example/", answers, addresses)


def test_a_redirect_to_http_is_refused() -> None:
    with pytest.raises(ServeError, match="only https"):
        fetch("https://a.example/", lambda request: httpx.Response(301, headers={"Location": "http://b.example/"}))


def test_a_relative_redirect_is_followed_but_not_for_ever() -> None:
    def once(request):
        if request.url.path == "/a":
            return httpx.Response(307, headers={"Location": "/b"})
        return body(b"there")

    assert fetch("https://a.example/a", once)[0] == b"there"
    with pytest.raises(ServeError, match="too many"):
        fetch("https://a.example/", lambda request: httpx.Response(302, headers={"Location": "/"}))


def test_size_is_bounded_while_it_streams() -> None:
    sent = []

    async def endless():
        while True:
            sent.append(1)
            yield b"x" * 400

    with pytest.raises(ServeError) as refused:
        fetch("https://a.example/", lambda request: httpx.Response(200, content=endless()))
    assert refused.value.status == 413
    assert len(sent) <= 4


def test_time_is_bounded() -> None:
    async def answers(request):
        await asyncio.sleep(5)
        return httpx.Response(200)

    with pytest.raises(ServeError, match="in time"):
        fetch("https://a.example/", answers, seconds=0.1)


@pytest.mark.parametrize("status", [204, 404, 500])
def test_other_answers_are_told(status) -> None:
    with pytest.raises(ServeError, match=str(status)):
        fetch("https://a.example/", lambda request: httpx.Response(status))
