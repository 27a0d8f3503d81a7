"""The checks in front of the application: host, origin, token, number of requests, size and speed of the body.

    host and origin → token → room for one more → body limits and deadlines → application
                                                                               → headers of every answer

Plain ASGI, so that a request which is turned away costs next to nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import errors
from .admission import Admission, is_open
from .errors import ServeError
from .metrics import Metrics
from .proxies import Proxies
from .settings import ServeSettings, host_name

access = logging.getLogger("diptych.serve.access")

COOKIE = "diptych_session"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# where a JSON body may hold images as data URIs
_IMAGE_PATHS = ("/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/classify", "/v1/relate", "/caption", "/generate")
_MOST_RECEIVING = 512_000_000  # bytes of bodies on their way, all together

HEADERS: list[tuple[bytes, bytes]] = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
]


def session_of(token: str) -> str:
    """The cookie's value for a token: it proves the token without holding it."""
    return hmac.new(token.encode(), b"diptych session", hashlib.sha256).hexdigest()


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self.admission = Admission(settings.pressure, metrics, Proxies(settings.trusted_proxies))
        self._receiving = 0  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the lifespan passes through, WebSockets are refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _Request(self, scope, receive, send).run()
        else:
            await send({"type": "websocket.close", "code": 1008})

    # -- who ---------------------------------------------------------------------------------------

    def check_caller(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise ServeError unless host, origin and token are as they should be."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._settings.host_is_allowed(host):
            raise ServeError(421, "host_not_allowed", "this server does not answer to that name",
                             "Start it with --allowed-host NAME if the name is right.")  # fmt: skip
        self._check_origin(scope, headers, host)
        token = self._settings.token
        if token is not None and not is_open(scope["path"]) and not _carries(headers, token):
            raise ServeError(401, "unauthorized", "this server needs its token",
                             "Send the header Authorization: Bearer TOKEN.")  # fmt: skip

    def _check_origin(self, scope: Scope, headers: dict[bytes, bytes], host: str) -> None:
        origin = headers.get(b"origin")
        if origin is not None:
            authority = origin.decode("latin-1").partition("://")[2]
            same = authority.lower() == host.lower()
            if not same and host_name(authority) not in self._settings.allowed_hosts:
                raise ServeError(403, "origin_not_allowed", "a page of another origin may not use this server")
        elif headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site") and not (
            scope["method"] in _SAFE_METHODS and headers.get(b"sec-fetch-mode") == b"navigate"
        ):
            raise ServeError(403, "origin_not_allowed", "a page of another origin may not use this server")

    # -- how much ----------------------------------------------------------------------------------

    def take_bytes(self, count: int) -> None:
        """Account for bytes of a body that is on its way."""
        self._receiving += count
        self._metrics.receiving.set(self._receiving)
        if self._receiving > _MOST_RECEIVING:
            self._metrics.rejected.labels("receiving").inc()
            raise errors.overloaded("too many large uploads are under way")

    def give_bytes(self, count: int) -> None:
        """The body was dealt with."""
        self._receiving -= count
        self._metrics.receiving.set(self._receiving)

    def body_limit(self, path: str, content_type: bytes) -> int:
        """The largest body for a path, in bytes."""
        limits = self._settings.limits
        if is_open(path):
            return limits.session_bytes
        if content_type.startswith(b"multipart/form-data"):
            return limits.upload_bytes
        holds_images = path in _IMAGE_PATHS or path.endswith("/search")
        return limits.image_json_bytes if holds_images else limits.json_bytes


class _Request:
    """One request on its way through the gate."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate, self._scope, self._receive, self._send = gate, scope, receive, send
        self._settings, self._metrics = gate._settings, gate._metrics
        self._headers = dict(scope["headers"])
        self._id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._failure: ServeError | None = None  # found while the body was read; overrules the application's answer
        self._status = 0
        self._read = 0  # bytes
        self._room: AbstractContextManager[None] | None = None
        self._is_whole = False  # the body is here, all of it
        self._is_open = is_open(scope["path"])
        self._client = gate.admission.client(_peer(scope), scope["headers"])
        self._timeout: asyncio.Timeout | None = None
        self._limit = gate.body_limit(scope["path"], self._headers.get(b"content-type", b"").lower())
        self._on_headers: Callable[[], None] | None = None

    async def run(self) -> None:
        self._scope.setdefault("state", {})["request_id"] = self._id
        if self._gate.admission.proxies.is_https(_peer(self._scope), self._scope["headers"]):
            self._scope["scheme"] = "https"
        try:
            self._gate.check_caller(self._scope, self._headers)
            refused = self._gate.admission.refusal(self._client, self._scope["path"])
            if refused is not None:
                raise refused
            self._check_stated_length()
            await self._through()
        except ServeError as error:
            await self._answer(error)
        finally:
            self._done()

    async def _through(self) -> None:
        pressure = self._settings.pressure
        self._body_deadline = pressure.open_body_deadline if self._is_open else pressure.body_deadline
        has_body = b"transfer-encoding" in self._headers or self._headers.get(b"content-length", b"0") != b"0"
        try:
            async with asyncio.timeout(pressure.deadline + (self._body_deadline if has_body else 0)) as timeout:
                self._timeout = timeout
                self._is_whole = not has_body
                if self._is_whole or self._is_open:  # who needs no token holds a place from the start
                    self._enter()
                await self._gate._app(self._scope, self._receive_guarded, self._send_guarded)
        except TimeoutError:
            self._metrics.rejected.labels("deadline").inc()
            if not self._failure:
                self._failure = errors.too_late("the request was not answered in time")
            errors.log.warning("request %s was not answered in time", self._id)
        except ServeError as error:
            self._failure = self._failure or error
        except Exception as error:
            if self._status:  # answered already, by the application's own handler
                return
            self._failure = self._failure or errors.internal(error, self._id)
        if self._failure is not None:
            await self._answer(self._failure)

    def _check_stated_length(self) -> None:
        stated = self._headers.get(b"content-length", b"0")
        if not stated.isdigit():
            raise ServeError(400, "bad_http", "the Content-Length is not a number")
        if int(stated) > self._limit:
            raise self._too_large()

    def _too_large(self) -> ServeError:
        return ServeError(413, "too_large", f"the body has more than {self._limit / 1e6:g} MB, the limit here",
                          "Send less at once.")  # fmt: skip

    def _enter(self) -> None:
        """The body is here: the request takes a place among those that are worked on."""
        self._room = self._gate.admission.place(self._client, self._scope["path"])
        self._room.__enter__()
        self._start_deadline()

    def _start_deadline(self) -> None:
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._settings.pressure.deadline)

    async def _receive_guarded(self) -> Message:
        """The next piece of the body, within the limits; raises ServeError outside them."""
        if self._failure is not None:
            raise self._failure
        if self._is_whole:  # only a disconnect can follow
            return await self._receive()
        try:
            return await self._next_piece()
        except ServeError as error:
            self._failure = error
            raise

    async def _next_piece(self) -> Message:
        pressure = self._settings.pressure
        left = self._started + self._body_deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, pressure.body_gap))):
                message = await self._receive()
        except TimeoutError as error:
            self._metrics.rejected.labels("slow_body").inc()
            raise ServeError(408, "too_slow", "the body did not come in time", "Use a faster connection.") from error
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            self._read += count
            self._gate.take_bytes(count)
            if self._read > self._limit:
                raise self._too_large()
            if not message.get("more_body", False):
                self._is_whole = True
                if self._room is None:
                    self._enter()
        return message

    async def _send_guarded(self, message: Message) -> None:
        """Pass the application's answer on, with our headers; nothing of it once a limit was broken."""
        if self._failure is not None and not self._status:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            present = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *self._own_headers(present)]
        await self._send(message)
        if message.get("more_body"):  # each piece of an answer has as long
            self._start_deadline()

    def _own_headers(self, present: set[bytes]) -> list[tuple[bytes, bytes]]:
        own = [*HEADERS, (b"x-request-id", self._id.encode())]
        if b"cache-control" not in present:
            own.append((b"cache-control", b"no-store"))
        return own

    async def _answer(self, error: ServeError) -> None:
        """Answer with an error, unless an answer is under way already."""
        if self._status:
            return
        self._failure, self._status = None, 0
        extra = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        answer = errors.response(error, self._id, extra, path=self._scope["path"])
        await answer(self._scope, self._receive, self._send_guarded)

    def _done(self) -> None:
        if self._room is not None:
            self._room.__exit__(None, None, None)
        self._gate.give_bytes(self._read)
        route = getattr(self._scope.get("route"), "path", "other")
        seconds = time.monotonic() - self._started
        self._metrics.requests.labels(self._scope["method"][:10], route, str(self._status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        access.info("%s %s %s %d %.0f ms", self._id[:8], self._scope["method"], route, self._status, seconds * 1e3)


def _peer(scope: Scope) -> str:
    client: Any = scope.get("client")
    return str(client[0]) if client else ""


def _carries(headers: dict[bytes, bytes], token: str) -> bool:
    """Whether a request proves that it knows the token, by header or by the page's cookie."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode()):
        return True
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return False
    cookie = jar.get(COOKIE)
    return cookie is not None and hmac.compare_digest(cookie.value.encode(), session_of(token).encode())
