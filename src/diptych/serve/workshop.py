"""Slow work, one piece after the other in a thread of its own: what waits is bounded, what nobody awaits is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from . import errors
from .batching import Batcher
from .metrics import Metrics
from .settings import Pressure

T = TypeVar("T")


class Workshop:
    """`await workshop.run(work)` gives what `work()` returns, or raises what it raised.

    Raises ServeError(503) when `pressure.slow_queue` pieces wait. A request that reaches its deadline
    while it waits is never begun.
    """

    def __init__(self, pressure: Pressure, metrics: Metrics) -> None:
        self._most = pressure.slow_queue

        def seen(_: int, waiting: int) -> None:
            metrics.waiting.labels("slow").set(waiting)

        self._queue: Batcher[Callable[[], Any], Any] = Batcher(
            "slow", _done, max_batch=1, max_wait=0.0, queue=pressure.slow_queue, on_batch=seen
        )

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work when its turn comes."""
        if len(self._queue) >= self._most:
            raise errors.overloaded(f"{len(self._queue)} slow pieces of work wait already")
        return cast(T, await self._queue.submit(work))

    async def close(self) -> None:
        """Finish what was accepted."""
        await self._queue.close()


def _done(work: Sequence[Callable[[], Any]]) -> list[Any]:
    return [one() for one in work]
