"""The libraries that are served: each with its model, its reads in batches, and its writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from diptych.core.errors import ConfigError
from diptych.library import Encoder, Library

from . import errors
from .batching import Batcher
from .editing import Change, Changed, Editor
from .embedding import Embedder, Vector
from .metrics import Metrics
from .projection import Mapper, Plan
from .reading import Found, Reader
from .settings import Pressure

T = TypeVar("T")

_READERS = 2  # threads of each library
_CHANGES_AT_ONCE = 256


class Served:
    """One library on the shelf."""

    def __init__(self, name: str, folder: Path, embedder: Embedder, pressure: Pressure, metrics: Metrics) -> None:
        self.name, self.embedder = name, embedder
        self.library = Library.open(folder, embedder.model)
        self.reader = Reader(self.library)
        self.mapper = Mapper(self.library.card.id)
        self._metrics = metrics
        self._searches: Batcher[tuple[Vector, int], Found] = Batcher(
            "search", self.reader.search_many, max_batch=pressure.max_batch, max_wait=0.0, queue=pressure.queue
        )
        self._changes: Batcher[Change, Changed | BaseException] = Batcher(
            "write", Editor(self.library).apply, max_batch=_CHANGES_AT_ONCE, max_wait=0.005, queue=pressure.queue
        )
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix=f"diptych-read-{name}")

    def warm(self) -> None:
        """Open the snapshot and draw its map, so that the first search is quick. Blocks."""
        self.count()
        self.mapper.plan(self.reader.version, self.reader.whole, improve=False)

    async def open_store(self) -> None:
        """Open what filters and writes need; its libraries take a second to import."""
        try:
            await self.read(self.reader.columns)
        except Exception as error:  # it is tried again by whoever needs it
            errors.log.warning("the store of %s could not be opened yet: %s", self.name, type(error).__name__)

    def count(self) -> int:
        """How many pictures there are, noted for the metrics. Blocks, briefly."""
        found = len(self.reader)
        self._metrics.items.labels(self.name).set(found)
        return found

    async def search(self, vector: Vector, k: int, sql: str | None) -> Found:
        """The k nearest pictures among those for which the filter holds."""
        if sql is None:
            return await self._searches.submit((vector, k))
        return await self.read(self.reader.search_filtered, vector, k, sql)

    async def change(self, change: Change) -> Changed:
        """Make a change; durable on return. It is finished even when the request has gone."""
        result = await asyncio.shield(self._changes.submit(change))
        if isinstance(result, BaseException):
            raise result
        return result

    async def plan(self, *, newest: bool) -> Plan:
        """The map: of the newest version, or of any, which is quick."""
        return await self.read(self._plan, newest)

    async def read(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a reading function in a thread of this library's own."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *arguments)

    async def close(self) -> None:
        """Finish what was accepted."""
        await asyncio.gather(self._searches.close(), self._changes.close())
        self._reading.shutdown(wait=True)

    def _plan(self, newest: bool) -> Plan:
        known = None if newest else self.mapper.latest
        return known or self.mapper.plan(self.reader.version, self.reader.whole)


class Shelf:
    """All served libraries by name, and all loaded models."""

    def __init__(self, served: Mapping[str, Served], embedders: Sequence[Embedder]) -> None:
        self._served = dict(served)
        self.embedders = list(embedders)

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    def get(self, name: str) -> Served:
        """A library. Raises ServeError(404)."""
        if name not in self._served:
            raise errors.no_library(name)
        return self._served[name]

    def model(self, name: str | None) -> Embedder:
        """A model by name; the first without one. Raises ServeError(404)."""
        for embedder in self.embedders:
            if name is None or name in (embedder.name, embedder.model.name):
                return embedder
        raise errors.ServeError(
            404, "no_such_model", f"no model {str(name)[:40]!r} is loaded", "GET /v1/models lists those that are."
        )

    async def close(self) -> None:
        """Finish what was accepted."""
        await asyncio.gather(*(served.close() for served in self))
        await asyncio.gather(*(embedder.close() for embedder in self.embedders))


def named(arguments: Sequence[str]) -> dict[str, Path]:
    """`--library` arguments, DIR or name=DIR, by name. Raises ConfigError for a name twice or an odd one."""
    found: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not equals or "/" in name:
            folder, name = argument, _name_for(Path(argument))
        if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
            raise ConfigError(f"--library {argument}: the name {name!r} needs letters, digits, - and _: name=DIR")
        if name in found:
            raise ConfigError(f"two libraries are called {name!r}; give one another name: name=DIR")
        found[name] = Path(folder).expanduser()
    return found


def _name_for(folder: Path) -> str:
    stem = folder.expanduser().resolve().name.removesuffix(".library")
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem).strip("-") or "library"


def stock(
    folders: Mapping[str, Path],
    models: Mapping[str, Encoder],
    default: Encoder | None,
    pressure: Pressure,
    metrics: Metrics,
) -> Shelf:
    """Open all libraries; those of one model share its batches. `models` are by fingerprint."""
    embedders: dict[str, Embedder] = {}
    for model in [*models.values(), *([default] if default is not None else [])]:
        if model.fingerprint not in embedders:
            embedders[model.fingerprint] = Embedder(model.name, model, pressure, metrics)
    served = {}
    for name, folder in folders.items():
        about = Library.open(folder).card
        served[name] = Served(name, folder, embedders[about.fingerprint], pressure, metrics)
    return Shelf(served, list(embedders.values()))
