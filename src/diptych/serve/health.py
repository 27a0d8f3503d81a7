"""Whether the models can embed: a text is embedded, at most once a second for any number of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_SECONDS = 1.0  # that an answer is good for


class Health:
    """`await health.now()` gives what `check()` gave or raised less than a second ago."""

    def __init__(self, check: Callable[[], Awaitable[dict[str, float]]], seconds: float = _SECONDS) -> None:
        self._check, self._seconds = check, seconds
        self._found: asyncio.Future[dict[str, float]] | None = None
        self._since = 0.0  # monotonic, of the answer

    async def now(self) -> dict[str, float]:
        """Milliseconds that an embedding by each model took. Everybody who asks meanwhile waits for one check."""
        if self._found is None or (self._found.done() and time.monotonic() - self._since >= self._seconds):
            self._found = asyncio.ensure_future(self._checked())
        return await asyncio.shield(self._found)

    async def _checked(self) -> dict[str, float]:
        try:
            return await self._check()
        finally:
            self._since = time.monotonic()
