"""The libraries that are served: each with its model, its view of one version, and its writer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from diptych.core.errors import ConfigError, LibraryError
from diptych.library import Encoder, Library, accelerator, exact
from diptych.library.snapshot import Snapshot

from . import errors
from .batching import Batcher
from .editing import Change, Changed, Editor
from .embedding import Embedder, Vector
from .metrics import Metrics
from .projection import Mapper
from .settings import Pressure

_WATCH_SECONDS = 1.0
_SETTLED_SECONDS = 10.0  # a version without a snapshot this old gets one made here
_MOST_FACETS = 50


class PinnedLibrary(Library):
    """A library whose searches see one version until `refresh` moves on: a write elsewhere never slows a reader."""

    def snapshot(self) -> Snapshot:
        """The pinned version."""
        return self._snapshot if self._snapshot is not None else super().snapshot()

    def refresh(self, *, build: bool) -> bool:
        """Move on to the newest version if its snapshot is there, or is built here; whether it moved."""
        version = self._version()
        if self._snapshot is not None and self._snapshot.version == version:
            return False
        found = self._loaded(version)
        if found is None and build:
            found = self._rebuilt()
        if found is not None:
            self._snapshot = found
        return found is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one snapshot and their cosines, best first."""

    view: Snapshot
    rows: Int64[np.ndarray, k]
    scores: list[float]
    looked_at: int  # rows that passed the filter


class Served:
    """One library on the shelf."""

    def __init__(self, name: str, folder: Path, embedder: Embedder, pressure: Pressure, metrics: Metrics) -> None:
        self.name, self.embedder = name, embedder
        self.library = PinnedLibrary.open(folder, embedder.model)
        self.mapper = Mapper(self.library.card.id)
        self.undo_seconds = pressure.undo
        self._metrics = metrics
        self._editor = Editor(self.library, pressure.undo)
        self._searches: Batcher[tuple[Vector, int], tuple[Snapshot, Any]] = Batcher(
            "search", self._search_many, max_batch=pressure.max_batch, max_wait=0.0, queue=pressure.queue
        )
        self._changes: Batcher[Change, Changed] = Batcher(
            "write",
            self._editor.apply,
            max_batch=256,
            max_wait=0.005,
            queue=pressure.queue,  # type: ignore[arg-type]
        )
        self._reading = ThreadPoolExecutor(2, thread_name_prefix=f"diptych-read-{name}")
        self._facets: dict[tuple[str, str], list[tuple[Any, int]]] = {}
        self._unsettled: tuple[str | None, float] = (None, 0.0)

    def warm(self) -> None:
        """Open the snapshot and draw its map, so that the first search is quick. Blocks."""
        view = self.library.snapshot()
        self._metrics.items.labels(self.name).set(len(view))
        self.mapper.plan(view, improve=False)

    async def search(self, vector: Vector, k: int, sql: str | None) -> Found:
        """The k nearest pictures among those for which the filter holds."""
        if sql is None:
            view, (rows, scores) = await self._searches.submit((vector, k))
            looked_at = len(view)
        else:
            view, (rows, scores), looked_at = await self.read(self._search_filtered, vector, k, sql)
        return Found(view, rows, [float(np.float32(score)) for score in scores], looked_at)

    async def change(self, change: Change) -> Changed:
        """Make a change; durable on return. It is finished even when the request has gone."""
        result = await asyncio.shield(self._changes.submit(change))
        self._metrics.items.labels(self.name).set(len(self.library.snapshot()))
        return result

    async def read(self, work: Any, *arguments: Any) -> Any:
        """Run a reading function in a thread of this library's own."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *arguments)

    async def watch(self) -> None:
        """Move on when another program writes the library. Runs until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            with contextlib.suppress(LibraryError, OSError):
                if await self.read(self._refresh):
                    self._metrics.items.labels(self.name).set(len(self.library.snapshot()))

    async def close(self) -> None:
        """Finish what was accepted."""
        await asyncio.gather(self._searches.close(), self._changes.close())
        with contextlib.suppress(LibraryError, OSError):
            await self.read(self._editor.close)
        self._reading.shutdown(wait=True)

    def columns(self) -> dict[str, str]:
        """What filters can ask about. Blocks."""
        return dict(self.library._store().columns())

    def matching(self, sql: str) -> list[str]:
        """Ids for which a filter holds. Blocks. Raises ConfigError for a filter that cannot be used."""
        return self.library._matching(sql)

    def facets(self, column: str) -> list[tuple[Any, int]]:
        """The most frequent values of a column and their counts. Blocks the first time for each version."""
        version = self.library.snapshot().version
        if (version, column) not in self._facets:
            self._facets = {key: value for key, value in self._facets.items() if key[0] == version}
            counts: Counter[Any] = Counter()
            for block in self.library._store().scan([column]):
                counts.update(value for value in block[column] if value is not None)
            self._facets[version, column] = counts.most_common(_MOST_FACETS)
        return self._facets[version, column]

    def _refresh(self) -> bool:
        version = self.library._version()
        if version != self._unsettled[0]:
            self._unsettled = (version, time.monotonic())
        settled = time.monotonic() - self._unsettled[1] >= _SETTLED_SECONDS
        return self.library.refresh(build=settled)

    def _search_many(self, asked: Sequence[tuple[Vector, int]]) -> list[tuple[Snapshot, Any]]:
        view = self.library.snapshot()
        first = accelerator.nearest(view, asked[0][0], asked[0][1])
        if first is not None:
            return [(view, first), *((view, self._one(view, vector, k)) for vector, k in asked[1:])]
        found = exact.nearest_many(view.vectors, np.stack([vector for vector, _ in asked]), [k for _, k in asked])
        return [(view, one) for one in found]

    def _search_filtered(self, vector: Vector, k: int, sql: str) -> tuple[Snapshot, Any, int]:
        view = self.library.snapshot()
        rows = view.find(self.matching(sql))
        return view, self._one(view, vector, k, rows), len(rows)

    @staticmethod
    def _one(
        view: Snapshot, vector: Float32[np.ndarray, d], k: int, rows: Int64[np.ndarray, c] | None = None
    ) -> tuple[Any, Any]:
        found = accelerator.nearest(view, vector, k, rows)
        return exact.nearest(view.vectors, vector, k, rows) if found is None else found


class Shelf:
    """All served libraries by name, and all loaded models."""

    def __init__(self, served: Mapping[str, Served], embedders: Sequence[Embedder]) -> None:
        self._served = dict(served)
        self.embedders = list(embedders)

    def __iter__(self) -> Any:
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
    wanted = list(models.values()) + ([default] if default is not None else [])
    for model in wanted:
        if model.fingerprint not in embedders:
            embedders[model.fingerprint] = Embedder(model.name, model, pressure, metrics)
    served = {}
    for name, folder in folders.items():
        library = Library.open(folder)
        served[name] = Served(name, folder, embedders[library.card.fingerprint], pressure, metrics)
    return Shelf(served, list(embedders.values()))
