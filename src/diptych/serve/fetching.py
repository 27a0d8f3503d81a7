"""Fetching an image by its URL: off unless the server was started with --fetch-urls.

https only. The address that a name resolves to is checked, and the connection goes to this very address, so that the
name cannot resolve to another one in between. Every redirect is checked again; size and time are bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin, urlsplit

import httpx

from .errors import ServeError

Resolver = Callable[[str, int], Awaitable[list[str]]]

_MOST_REDIRECTS = 3
_SECONDS = 10.0
_REDIRECTS = (301, 302, 303, 307, 308)


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Fetcher:
    """`await fetcher.fetch(url, limit)`: the body, at most `limit` bytes. Raises ServeError."""

    def __init__(
        self,
        *,
        resolver: Resolver = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._resolver, self._transport, self._seconds = resolver, transport, seconds

    async def fetch(self, url: str, limit: int) -> bytes:
        """Follow at most three redirects, checking each. The deadline is for all of it."""
        try:
            async with asyncio.timeout(self._seconds):
                for _ in range(_MOST_REDIRECTS + 1):
                    found = await self._once(url, limit)
                    if isinstance(found, bytes):
                        return found
                    url = found
        except TimeoutError as error:
            raise _refused("the image did not come in time") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise _refused("the image could not be fetched") from error
        raise _refused("too many redirects")

    async def _once(self, url: str, limit: int) -> bytes | str:
        """The body, or the address of a redirect."""
        host, port, address = await self._checked(url)
        shown = f"[{address}]" if ":" in address else address
        parts = urlsplit(url)
        target = f"https://{shown}:{port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        headers = {
            "Host": host if port == 443 else f"{host}:{port}",
            "Accept": "image/*",
            "Accept-Encoding": "identity",
        }
        async with (
            httpx.AsyncClient(transport=self._transport, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", target, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.status_code in _REDIRECTS:
                return urljoin(url, str(answer.headers.get("location", "")))
            if answer.status_code != 200:
                raise _refused(f"the other server answered {answer.status_code}")
            return await _bounded(answer, limit)

    async def _checked(self, url: str) -> tuple[str, int, str]:
        """(host, port, the address to connect to). Every address of the name must be a public one."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
            raise _refused("only https addresses without a user name are fetched")
        port = parts.port or 443
        addresses = await self._resolver(parts.hostname, port)
        if not addresses or not all(is_public(address) for address in addresses):
            raise _refused("that address is not a public one")
        return parts.hostname, port, addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet (not to this machine, this network, or the cloud's)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if found in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 leads to any IPv4 address
            return False
    return found.is_global and not found.is_multicast


async def _bounded(answer: httpx.Response, limit: int) -> bytes:
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > limit:
            raise ServeError(413, "too_large", f"the image at that address has more than {limit / 1e6:g} MB")
    return bytes(data)


def _refused(message: str) -> ServeError:
    return ServeError(422, "not_fetched", message, "Send the image itself, as an upload or a data URI.")
