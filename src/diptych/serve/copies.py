"""Copies of one image in a library, found beside the requests: it may take longer than a request may."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from diptych.library.duplicates import Duplicates
from diptych.library.store import Where

from . import errors
from .libraries import ServedLibrary
from .metrics import Metrics
from .settings import Pressure
from .slow_queue import SlowQueue

T = TypeVar("T")


class CopyFinder:
    """One search for copies at a time, in a thread of its own; what was begun is finished, and its result kept."""

    def __init__(self, pressure: Pressure, metrics: Metrics) -> None:
        self._queue = SlowQueue(pressure, metrics, name="copies")
        self._closing = threading.Event()

    async def find(self, served: ServedLibrary, where: Where | None) -> Duplicates:
        """The groups of copies in the newest version, among the images for which a filter holds.

        Raises ConfigError for a library of texts.
        """
        library = served.library
        # A copied library has the same id, and may come to the same version by other writes.
        version = await served.read(lambda: served.version)
        key = (served.name, library.card.fingerprint, version, await served.read(served.count), where)
        return await self._queue.remembered(key, lambda: library.duplicates(where, progress=self))

    async def close(self) -> None:
        """Give up what is under way: it changes nothing, and a server that ends does not wait for it."""
        self._closing.set()
        await self._queue.close()

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """As `Progress`. Raises ServeError(503) once the server ends."""
        for item in items:
            if self._closing.is_set():
                raise errors.overloaded("the server is shutting down")
            yield item

    def say(self, message: str) -> None:
        """As `Progress`: nothing is said."""
