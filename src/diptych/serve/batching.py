"""Dynamic batching: inputs that arrive together are embedded together, in one worker thread.

The first input of a batch waits at most `max_wait` seconds for others to join it. While a batch is being embedded, the
next one gathers, so that under load batches are full without waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from . import errors

log = logging.getLogger("diptych.serve")

T = TypeVar("T")
U = TypeVar("U")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T, U]):
    item: T
    future: asyncio.Future[U]


class Batcher(Generic[T, U]):
    """`await batcher.submit(item)` gives what `work([..., item, ...])` returns for it.

    A batch that fails is tried again one by one, so that a bad input harms only itself. An
    input whose request was cancelled is dropped. `submit` raises ServeError(503) when `queue` inputs wait.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], Sequence[U]],
        *,
        max_batch: int = 16,
        max_wait: float = 0.004,
        queue: int = 1024,
        on_batch: Callable[[int, int], None] = lambda size, waiting: None,
    ) -> None:
        self._name, self._work = name, work
        self._max_batch, self._max_wait, self._limit = max_batch, max_wait, queue
        self._on_batch = on_batch
        self._queue: deque[_Waiting[T, U]] = deque()
        self._arrived = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"diptych-{name}")
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def __len__(self) -> int:
        return len(self._queue)

    async def submit(self, item: T) -> U:
        """The result for one input, or the exception that it alone caused."""
        (result,) = await self.submit_all([item])
        if isinstance(result, BaseException):
            raise result
        return result

    async def submit_all(self, items: Sequence[T]) -> list[U | BaseException]:
        """Results in order; an input that failed has its exception in its place."""
        if self._closing or len(self._queue) + len(items) > self._limit:
            raise errors.overloaded(f"{len(self._queue)} inputs wait to be embedded already")
        self._start()
        loop = asyncio.get_running_loop()
        waiting = [_Waiting[T, U](item, loop.create_future()) for item in items]
        self._queue.extend(waiting)
        self._arrived.set()
        try:
            return await asyncio.gather(*(one.future for one in waiting), return_exceptions=True)
        except asyncio.CancelledError:
            for one in waiting:
                one.future.cancel()
            raise

    async def close(self) -> None:
        """Finish what was accepted, then stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown(wait=True)

    def _start(self) -> None:
        """Start the task that gathers batches, unless it runs already."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"batch-{self._name}")

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if len(self._queue) < self._max_batch and self._max_wait > 0 and not self._closing:
                await asyncio.sleep(self._max_wait)
            batch = self._take()
            if batch:
                self._on_batch(len(batch), len(self._queue))
                await self._finish(batch)

    def _take(self) -> list[_Waiting[T, U]]:
        batch: list[_Waiting[T, U]] = []
        while self._queue and len(batch) < self._max_batch:
            one = self._queue.popleft()
            if not one.future.done():
                batch.append(one)
        return batch

    async def _finish(self, batch: list[_Waiting[T, U]]) -> None:
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._pool, self._results, [one.item for one in batch])
        for one, result in zip(batch, results, strict=True):
            if one.future.done():
                continue
            if isinstance(result, BaseException):
                one.future.set_exception(result)
            else:
                one.future.set_result(result)

    def _results(self, items: list[T]) -> list[U | BaseException]:
        """In the worker thread: all at once, or one by one if that fails."""
        try:
            return self._worked(items)
        except BaseException as error:
            if len(items) == 1:
                return [error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__} in a worker")]
            log.warning("a batch of %d for %s failed (%s); trying one by one", len(items), self._name, error)
        return [result for item in items for result in self._results([item])]

    def _worked(self, items: list[T]) -> list[U | BaseException]:
        results = list(self._work(items))
        if len(results) != len(items):
            raise RuntimeError(f"{self._name} gave {len(results)} results for {len(items)} inputs")
        return list(results)
