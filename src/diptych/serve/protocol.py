"""Slow clients: deadlines for headers and for taking an answer, limits for headers and for connections.

Uvicorn has none of these. This is its httptools protocol with four timers and counters around it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import errors
from .admission import Admission
from .errors import ServeError
from .settings import ServeSettings

_LINGER = 5.0  # seconds


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `settings` is set on a subclass by `guarded`."""

    settings: ServeSettings
    admission: Admission
    waiting: dict[GuardedProtocol, None]  # connections that ask for nothing now: may be ended, oldest first
    held: Counter[str]  # connections of each address

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._header_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._body_is_open = False
        self._header_bytes = 0
        self._in_headers = True
        self._peer = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection; when there are too many, one of those that ask for nothing makes room.

        It is one of the address that holds the most, the one that has asked for nothing for longest.
        """
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self.held[self._peer] += 1
        if len(self.connections) > self.settings.pressure.connections:
            max(self.waiting, key=lambda one: self.held[one._peer], default=self)._abort()
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._headers_are_here()
        self._cancel_send_timer()
        self._stop_lingering()
        self.held[self._peer] -= 1
        if not self.held[self._peer]:
            del self.held[self._peer]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the headers are complete; too much of it is refused."""
        if self._in_headers:
            if self._header_timer is None:  # the next request of a connection that was kept
                self._await_headers()
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > self.settings.limits.header_bytes:
            self._refuse(431, "headers_too_large", "the request line and headers are too long")

    def on_headers_complete(self) -> None:
        """The request begins."""
        self._headers_are_here()
        if self._header_bytes and sum(len(a) + len(b) for a, b in self.headers) > self.settings.limits.header_bytes:
            self._refuse(431, "headers_too_large", "the request line and headers are too long")
            return
        self._body_is_open = True
        if not self._turned_away():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole; what comes next are headers again."""
        self._in_headers, self._header_bytes, self._body_is_open = True, 0, False
        self._stop_lingering()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer before the end of the body: the rest is thrown away for a while, so that the answer is read."""
        if self._body_is_open and self._linger_timer is None:
            self._linger_timer = self.loop.call_later(_LINGER, self._abort)
        super().on_response_complete()
        if self.cycle.response_complete:  # kept open, or the rest of its body is thrown away; nothing follows yet
            self.waiting[self] = None

    def pause_writing(self) -> None:
        """The client does not take what is sent: it gets a deadline."""
        super().pause_writing()
        self._cancel_send_timer()
        self._send_timer = self.loop.call_later(self.settings.pressure.send_deadline, self._abort)

    def resume_writing(self) -> None:
        """The client took it."""
        super().resume_writing()
        self._cancel_send_timer()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP at all."""
        self._refuse(400, "bad_http", "this is not a valid HTTP request")

    def _turned_away(self) -> bool:
        """Answer a request for which there is no room at once, before anything is made for it."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # pipelined behind another: the gate will see to it
        path = self.url.partition(b"?")[0].decode("latin-1")
        refused = self.admission.refusal(self.admission.client(self._peer, self.headers), path)
        if refused is None:
            return False
        keep_alive = self.parser.should_keep_alive()
        self.transport.write(_answer(refused, path, close=not keep_alive))
        self.cycle = _ANSWERED
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()
        return True

    def _await_headers(self) -> None:
        self._in_headers = True
        self.waiting.pop(self, None)  # from those that were kept open without a request
        self.waiting[self] = None
        self._header_timer = self.loop.call_later(self.settings.pressure.header_deadline, self._headers_are_late)

    def _headers_are_here(self) -> None:
        self._in_headers = False
        self.waiting.pop(self, None)
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_are_late(self) -> None:
        if self._header_bytes:
            self._refuse(408, "too_slow", "the headers did not come in time")
        else:
            self._abort()

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._headers_are_here()
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(_answer(ServeError(status, code, message), "", close=True))
        self.transport.close()

    def _abort(self) -> None:
        self._headers_are_here()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _cancel_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None


class _Answered:
    """Stands for a request that was answered without one having been made."""

    response_complete = True
    disconnected = False
    keep_alive = True

    class message_event:  # noqa: N801 - uvicorn's name
        """Nobody waits for it."""

        @staticmethod
        def set() -> None:
            """Nothing to wake."""


_ANSWERED: Any = _Answered()


def _answer(error: ServeError, path: str, *, close: bool) -> bytes:
    """A whole answer, as bytes."""
    identifier = uuid.uuid4().hex
    text = json.dumps(errors.body(error, identifier, path)).encode()
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(text)}",
        f"x-request-id: {identifier}",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        *(f"{name.lower()}: {value}" for name, value in errors.headers(error).items()),
        *(["connection: close"] if close else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + text


def guarded(settings: ServeSettings, admission: Admission) -> type[GuardedProtocol]:
    """The protocol class for one server."""
    shared = {"settings": settings, "admission": admission, "waiting": {}, "held": Counter()}
    return type("GuardedProtocol", (GuardedProtocol,), shared)
