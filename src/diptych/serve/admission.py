"""How many requests are worked on, in all and for each client: there is room for one more, or there is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from . import errors
from .errors import ServeError
from .metrics import Metrics
from .settings import Pressure

ALWAYS_ROOM = ("/health", "/metrics", "/session")  # whoever watches the server gets an answer


class Admission:
    """Places for requests. The protocol asks first, so that turning one away costs next to nothing."""

    def __init__(self, pressure: Pressure, metrics: Metrics) -> None:
        self._pressure, self._metrics = pressure, metrics
        self._in_flight = 0
        self._clients: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        """Requests that are worked on now."""
        return self._in_flight

    def refusal(self, client: str, path: str) -> ServeError | None:
        """Why there is no room for one more request, or None when there is."""
        if path in ALWAYS_ROOM:
            return None
        if self._in_flight >= self._pressure.in_flight:
            self._metrics.rejected.labels("in_flight").inc()
            return errors.overloaded("the server has as much to do as it can hold")
        if self._clients[client] >= self._pressure.per_client:
            self._metrics.rejected.labels("per_client").inc()
            return errors.overloaded("too many requests of this client are under way", 429, "too_many_requests")
        return None

    @contextmanager
    def place(self, client: str, path: str) -> Iterator[None]:
        """Hold a place for one request. Raises ServeError when there is none."""
        refused = self.refusal(client, path)
        if refused is not None:
            raise refused
        self._in_flight += 1
        self._clients[client] += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            self._metrics.in_flight.set(self._in_flight)
