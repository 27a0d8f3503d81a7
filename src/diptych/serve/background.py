"""Work that nobody waits for, one piece after another; what waits is bounded, and what is left undone is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

from .errors import ServeError, log

_MOST = 10_000  # pieces that wait
_PAUSE = 1.0  # seconds, when the server has too much to do for a piece

Piece = Callable[[], Awaitable[None]]


class Background:
    """`background.put(piece)` is done when there is time for it. `undone` says in the log what is missing then."""

    def __init__(self, undone: str) -> None:
        self._undone, self._lost = undone, 0
        self._waiting: deque[Piece] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def put(self, piece: Piece) -> None:
        """Do it later; when too many wait, it is counted as undone."""
        if len(self._waiting) >= _MOST or self._closing.is_set():
            self._lost += 1
            return
        self._waiting.append(piece)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="background")

    async def close(self) -> None:
        """Finish the piece at hand, and say how many are left."""
        self._closing.set()
        if self._task is not None:
            await self._task
        self._lost += len(self._waiting)
        self._waiting.clear()
        self._say_lost()

    async def _run(self) -> None:
        while self._waiting and not self._closing.is_set():
            try:
                await self._waiting[0]()
            except ServeError as error:
                if error.retry_after is not None:
                    await self._pause()
                    continue
                self._failed(error)
            except Exception as error:
                self._failed(error)
            self._waiting.popleft()
        self._say_lost()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), _PAUSE)

    def _failed(self, error: Exception) -> None:
        self._lost += 1
        log.warning("%s: %s", type(error).__name__, error)

    def _say_lost(self) -> None:
        if self._lost:
            log.warning("%d times: %s", self._lost, self._undone)
            self._lost = 0
