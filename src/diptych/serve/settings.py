"""How the service runs: limits, deadlines, and which clients it accepts. Unsafe settings are refused."""

from __future__ import annotations

import ipaddress
import math
import secrets
import string
from dataclasses import dataclass, field

from diptych.core.errors import ConfigError
from diptych.data.images import ImageLimits

TOKEN_BITS = 128
_LEAST_DISTINCT = 8  # different characters in a token; "aaaa…" is long but no secret
_BYTES_OF_NEW_TOKEN = 32
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest things that are accepted; each is checked before the thing is held whole."""

    session_bytes: int = 1_000  # bytes of a body that needs no token: the page's session
    json_bytes: int = 1 * _MEGA  # bytes of a JSON body without images
    image_json_bytes: int = 28 * _MEGA  # bytes of a JSON body that may hold images as data URIs
    upload_bytes: int = 200 * _MEGA  # bytes of a multipart body
    upload_files: int = 64  # images in one upload
    header_bytes: int = 32_768  # bytes of a request line and its headers
    batch_inputs: int = 128  # texts and images in one request for embeddings
    documents: int = 256  # of one request to rerank
    prompts: int = 1_000  # of one request to classify: labels times templates
    images: ImageLimits = field(default_factory=ImageLimits)


@dataclass(frozen=True, slots=True)
class Pressure:
    """How much work is taken on, and for how long it may wait. Seconds unless stated otherwise."""

    in_flight: int = 64  # requests that are worked on or wait; the next one gets 503
    per_client: int = 48  # of them from one address; the next one gets 429
    open_in_flight: int = 64  # requests that need no token: health, the page, its session; the next one gets 503
    open_per_client: int = 32  # of them from one address; the next one gets 429
    open_body_deadline: float = 5.0  # for the whole body of such a request
    connections: int = 2_000
    max_batch: int = 16  # inputs embedded at once
    max_wait: float = 0.004  # that the first input of a batch waits for others
    queue: int = 1_024  # inputs that wait to be embedded; the next ones get 503
    slow_queue: int = 16  # slow calls (why, re-rank, caption, draw) that wait; the next ones get 503
    deadline: float = 20.0  # for a request to be answered, once its body is here
    header_deadline: float = 10.0  # from the first byte of a connection to the end of the headers
    body_deadline: float = 60.0  # for a whole body
    body_gap: float = 10.0  # between two pieces of a body
    send_deadline: float = 30.0  # for a client to take what was written
    keep_alive: int = 10
    shutdown: float = 30.0  # for accepted requests to finish
    decoders: int = 2  # processes that decode images
    decode_deadline: float = 15.0  # for one image
    decode_memory: int = 2_500 * _MEGA  # bytes of address space of a decoding process


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where the service listens, and which hosts and proxies it trusts.

    Anything but a loopback address needs a token of at least 128 bits. `allowed_hosts` are further
    names under which a browser may call it (IP literals are always allowed: they cannot be rebound).
    `trusted_proxies` are addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    read_only: bool = False
    fetch_urls: bool = False
    limits: Limits = field(default_factory=Limits)
    pressure: Pressure = field(default_factory=Pressure)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port is {self.port}; expected 0 to 65535 (0: any that is free)")
        if self.token is not None:
            check_token(self.token)
        elif not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} is reachable from other machines, and no token is set; "
                f"add --generate-token, or --token with at least {TOKEN_BITS} random bits (or DIPTYCH_SERVE_TOKEN), "
                f"or stay on 127.0.0.1"
            )

    @property
    def shows_paths(self) -> bool:
        """Whether answers may name folders of this machine: only when nobody else can ask, by a proxy either."""
        return is_loopback(self.host) and not self.trusted_proxies and not self.allowed_hosts

    def host_is_allowed(self, host: str) -> bool:
        """Whether a Host header is one of ours. A page of another name that points here (DNS rebinding) is not."""
        name = host_name(host)
        if name in _LOOPBACK_NAMES or name == self.host.lower() or name in self.allowed_hosts:
            return True
        return not is_loopback(self.host) and _address(name) is not None


def host_name(host: str) -> str:
    """The name of a Host header or an origin's authority, in small letters, without its port."""
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdigit() else host.strip().lower()


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def new_token() -> str:
    """A fresh token of 256 random bits."""
    return secrets.token_urlsafe(_BYTES_OF_NEW_TOKEN)


def token_bits(token: str) -> float:
    """At most how many random bits a token can hold: its length times the bits of the alphabet it shows."""
    if not token:
        return 0.0
    for alphabet in (string.digits, string.hexdigits[:16], string.ascii_lowercase + string.digits):
        if set(token) <= set(alphabet):
            return len(token) * math.log2(len(alphabet))
    return len(token) * 6.0


def check_token(token: str) -> str:
    """The token, if it can be a secret of 128 bits. Raises ConfigError otherwise."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("the token has characters that no HTTP header carries; expected letters, digits, - and _")
    if token_bits(token) < TOKEN_BITS or len(set(token)) < _LEAST_DISTINCT:
        raise ConfigError(
            f"the token can hold at most {token_bits(token):.0f} bits, or repeats itself; expected at least "
            f"{TOKEN_BITS} random bits (22 letters and digits, or 32 hex digits): use --generate-token"
        )
    return token
