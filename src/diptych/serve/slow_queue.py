"""Slow work, one call at a time in its own thread. The queue is bounded; cancelled calls are dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar, cast

from . import errors
from .batching import Batcher
from .metrics import Metrics
from .settings import Pressure

T = TypeVar("T")

_REMEMBERED = 16  # results, each perhaps an image of a megabyte


class SlowQueue:
    """`await slow_queue.run(work)` gives what `work()` returns, or raises what it raised.

    Raises ServeError(503) when `pressure.slow_queue` calls wait. A request that reaches its deadline while it waits is
    not begun. A call that was begun is finished, and `remembered` keeps its result for the next request.
    """

    def __init__(self, pressure: Pressure, metrics: Metrics, name: str = "slow") -> None:
        self._most = pressure.slow_queue
        self._remembered: OrderedDict[Hashable, Any] = OrderedDict()

        def count(_: int, waiting: int) -> None:
            metrics.waiting.labels(name).set(waiting)

        self._queue: Batcher[Callable[[], Any], Any] = Batcher(
            name, _done, max_batch=1, max_wait=0.0, queue=pressure.slow_queue, on_batch=count
        )

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work when its turn comes."""
        if len(self._queue) >= self._most:
            raise errors.overloaded(f"{len(self._queue)} slow pieces of work wait already")
        return cast(T, await self._queue.submit(work))

    async def remembered(self, key: Hashable, work: Callable[[], T]) -> T:
        """The same for work whose result depends on `key` alone: the latest results are kept."""

        def once() -> T:
            if key in self._remembered:  # another request computed it while this one waited
                return cast(T, self._remembered[key])
            found = work()
            self._remembered[key] = found
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
            return found

        found = self._remembered.get(key)
        return await self.run(once) if found is None else cast(T, found)

    async def close(self) -> None:
        """Finish what was accepted."""
        await self._queue.close()


def _done(work: Sequence[Callable[[], Any]]) -> list[Any]:
    return [one() for one in work]
