"""Work after the answer, one task at a time. The queue is bounded; tasks that were not done are counted in the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

from .errors import ServeError, log

_MOST = 10_000  # tasks that wait
_PAUSE = 1.0  # seconds before a task is tried again that the server had no room for

Work = Callable[[], Awaitable[None]]


class Background:
    """`background.put(work)` queues a task. `undone` is the log's line for each task that was not done."""

    def __init__(self, undone: str) -> None:
        self._undone, self._lost = undone, 0
        self._waiting: deque[Work] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def put(self, work: Work) -> None:
        """Queue a task; when too many wait, it is counted as not done."""
        if len(self._waiting) >= _MOST or self._closing.is_set():
            self._lost += 1
            return
        self._waiting.append(work)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="background")

    async def close(self) -> None:
        """Finish the current task; the log says how many were not done."""
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
