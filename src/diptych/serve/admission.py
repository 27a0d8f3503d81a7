"""Limits how many requests are worked on, in all and for each client.

Requests that need no token (health, the page, its session) have their own budget, so that a flood of them takes no
place from searches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from . import errors
from .errors import ServeError
from .metrics import Metrics
from .proxies import Headers, Proxies
from .settings import Pressure

_OPEN = ("/", "/session", "/health", "/docs", "/openapi.json", "/favicon.ico")
_OPEN_PREFIX = "/static/"
_WATCHED = "/metrics"  # needs the token, and is answered when there is no room for work


def is_open(path: str) -> bool:
    """Whether a path is answered without the token."""
    return path in _OPEN or path.startswith(_OPEN_PREFIX)


class _Budget:
    """Places of one kind, in all and for each client."""

    def __init__(self, kind: str, most: int, per_client: int, metrics: Metrics) -> None:
        self._kind, self._most, self._per_client, self._metrics = kind, most, per_client, metrics
        self.taken = 0
        self._clients: Counter[str] = Counter()

    def refusal(self, client: str) -> ServeError | None:
        if self.taken >= self._most:
            self._metrics.rejected.labels(f"{self._kind}in_flight").inc()
            return errors.overloaded("the server has no room for more requests")
        if self._clients[client] >= self._per_client:
            self._metrics.rejected.labels(f"{self._kind}per_client").inc()
            return errors.overloaded("too many requests of this client are under way", 429, "too_many_requests")
        return None

    def take(self, client: str, by: int) -> None:
        self.taken += by
        self._clients[client] += by
        if not self._clients[client]:
            del self._clients[client]


class Admission:
    """Places for requests. The protocol asks first, so that turning one away costs next to nothing."""

    def __init__(self, pressure: Pressure, metrics: Metrics, proxies: Proxies) -> None:
        self._metrics, self.proxies = metrics, proxies
        self._work = _Budget("", pressure.in_flight, pressure.per_client, metrics)
        self._open = _Budget("open_", pressure.open_in_flight, pressure.open_per_client, metrics)

    @property
    def in_flight(self) -> int:
        """Requests that are worked on now, those that need no token left out."""
        return self._work.taken

    def refusal(self, client: str, path: str) -> ServeError | None:
        """Why there is no room for one more request, or None when there is."""
        return self._budget(path).refusal(client)

    def client(self, peer: str, headers: Headers) -> str:
        """The address that a request is counted for."""
        return self.proxies.client(peer, headers)

    @contextmanager
    def place(self, client: str, path: str) -> Iterator[None]:
        """Hold a place for one request. Raises ServeError when there is none."""
        budget = self._budget(path)
        refused = budget.refusal(client)
        if refused is not None:
            raise refused
        budget.take(client, 1)
        self._metrics.in_flight.set(self.in_flight)
        try:
            yield
        finally:
            budget.take(client, -1)
            self._metrics.in_flight.set(self.in_flight)

    def _budget(self, path: str) -> _Budget:
        return self._open if is_open(path) or path == _WATCHED else self._work
