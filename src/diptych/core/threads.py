"""Work in threads, a bounded number of items ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(work: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int, name: str) -> Iterator[R]:
    """`map(work, items)` in order, by `workers` threads, with at most `depth` items taken but not yet given back.

    Items are taken in the consumer's thread. Closing the iterator stops the threads.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=f"diptych-{name}")
    ahead: deque[Future[R]] = deque()
    waiting = iter(items)
    try:
        while True:
            ahead.extend(pool.submit(work, item) for item in islice(waiting, depth - len(ahead)))
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
