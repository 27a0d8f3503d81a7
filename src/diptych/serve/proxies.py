"""The client's address behind proxies: `X-Forwarded-For` counts only where a trusted proxy wrote it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from diptych.core.errors import ConfigError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_IPV6_PREFIX = 64  # bits that a provider gives one customer, who may use all addresses below them

Headers = Iterable[tuple[bytes, bytes]]  # names in small letters


class Proxies:
    """The addresses and networks of trusted proxies. Raises ConfigError for a text that is neither."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        try:
            self._networks = [ipaddress.ip_network(one, strict=False) for one in trusted]
        except ValueError as error:
            raise ConfigError(
                f"--trusted-proxy: {error}; expected an address or a network, such as 10.0.0.0/8"
            ) from error

    def client(self, peer: str, headers: Headers) -> str:
        """The address that a request is counted for: the last one on its way that is no trusted proxy."""
        found = _parsed(peer)
        if found is None or not self._trusts(found):
            return _shown(found, peer)
        for hop in reversed(_hops(headers)):
            address = _parsed(hop)
            if address is None:  # not an address: whoever wrote this may have written the rest
                break
            found = address
            if not self._trusts(address):
                break
        return _shown(found, peer)

    def is_https(self, peer: str, headers: Headers) -> bool:
        """Whether a trusted proxy says that its client speaks TLS."""
        found = _parsed(peer)
        if found is None or not self._trusts(found):
            return False
        return any(name == b"x-forwarded-proto" and value.strip().lower() == b"https" for name, value in headers)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _hops(headers: Headers) -> list[str]:
    """All hops, the nearest last; a header may come several times."""
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for line in lines for hop in line.split(",")]


def _parsed(text: str) -> _Address | None:
    if text.startswith("["):  # [::1]:1234
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 10.0.0.1:1234
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _shown(address: _Address | None, peer: str) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return peer if address is None else str(address)
