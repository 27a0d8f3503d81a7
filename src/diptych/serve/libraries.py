"""The libraries that are served: each with its model, its reads in batches, and its writer.

A library that was re-embedded is opened again with its new model while requests go on; each request
sees one of the two, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.types import ImageRef
from diptych.library import Answer, Encoder, Library, RowFacts, card, model_of
from diptych.library.bucket import folder_of
from diptych.library.store import Where, content_of

from . import editing, errors
from .batching import Batcher
from .cross_encoder import ServedCrossEncoder
from .editing import Change, Changed
from .embedding import Embedder, Vector
from .metrics import Metrics
from .projection import Mapper, Plan
from .settings import Pressure

T = TypeVar("T")

# columns that say where files are, or where somebody was: `meta` is all that is known about an image, as JSON
PLACES = ("path", "folder", "source", "meta", "PHOTO_LATITUDE", "PHOTO_LONGITUDE")
_READERS = 2  # threads of each library
_CHANGES_AT_ONCE = 256
_PREFIX = "diptych-"
_AGAIN = 10.0  # seconds between two tries to open a library that was re-embedded

Loader = Callable[[str], Encoder]


class ServedLibrary:
    """One library, open: `await served.read(work)` runs reads in threads of its own, `change` writes in batches.

    Without an `embedder`, because its model is another by now, it is listed and shown, and found by vectors of its own.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        embedder: Embedder | None,
        pressure: Pressure,
        metrics: Metrics,
        cross_encoder: ServedCrossEncoder | None = None,
    ) -> None:
        self.name, self.folder, self.loaded, self.cross_encoder = name, folder, embedder, cross_encoder
        self._card_file = _signature(folder)
        self.library = Library.open(folder, None if embedder is None else embedder.model)
        self.is_fitted = cross_encoder is not None and cross_encoder.attach(self.library)
        self.mapper = Mapper(self.library.card.id)
        self._facets: dict[tuple[str, str], list[tuple[Any, int]]] = {}
        self._dates: tuple[str, dict[str, int]] | None = None
        self._metrics = metrics
        self._searches: Batcher[tuple[Vector, int], Answer] = Batcher(
            "search", self._search_many, max_batch=pressure.max_batch, max_wait=0.0, queue=pressure.queue
        )
        self._changes: Batcher[Change, Changed | BaseException] = Batcher(
            "write",
            partial(editing.apply, self.library),
            max_batch=_CHANGES_AT_ONCE,
            max_wait=0.005,
            queue=pressure.queue,
        )
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix=f"diptych-read-{name}")

    @property
    def embedder(self) -> Embedder:
        """Its model. Raises ServeError(409) where that is another by now."""
        if self.loaded is None:
            raise errors.other_model(self.name, self.library.card.model)
        return self.loaded

    @property
    def version(self) -> str:
        """The newest version; a token that changes with every write. Blocks on object storage."""
        return self.library.version or ""

    def has_moved_on(self) -> bool:
        """Whether the library was re-embedded since it was opened. Costs one `stat` call, rarely more."""
        found = _signature(self.folder)
        if found == self._card_file:
            return False
        if not self.library.is_current:
            return True
        self._card_file = found
        return False

    def can_rerank(self) -> bool:
        """Whether the cross-encoder can put its hits in order. Blocks, briefly."""
        return self.is_fitted and self.cross_encoder is not None and self.cross_encoder.reads(self.library)

    def warm(self) -> None:
        """Open the snapshot and draw its map, so that the first search is quick. Blocks."""
        self.count()
        self.mapper.plan(self.version, self.library.points, improve=False)

    async def open_store(self) -> None:
        """Open what filters and writes need; importing it takes a second."""
        try:
            await self.columns()
        except Exception as error:  # the first request that needs it tries again
            errors.log.warning("the store of %s could not be opened yet: %s", self.name, type(error).__name__)

    def count(self) -> int:
        """How many images there are, noted for the metrics. Blocks, briefly."""
        found = len(self.library)
        self._metrics.items.labels(self.name).set(found)
        return found

    async def search(self, vector: Vector, k: int, where: Where | None) -> Answer:
        """The k nearest images among those for which the filter holds."""
        if where is None:
            return await self._searches.submit((vector, k))
        return (await self.read(self.library.search_many, vector[np.newaxis], [k], where))[0]

    async def change(self, change: Change) -> Changed:
        """Make a change; durable on return. It is finished even when the request has gone."""
        result = await asyncio.shield(self._changes.submit(change))
        if isinstance(result, BaseException):
            raise result
        return result

    async def plan(self, *, newest: bool) -> Plan:
        """The map: of the newest version, or of any, which is quick."""
        return await self.read(self._plan, newest)

    async def columns(self) -> dict[str, str]:
        """What filters can ask about."""
        return await self.read(self.library.columns)

    async def facets(self, column: str) -> list[tuple[Any, int]]:
        """The most frequent values of a column and their counts; kept for one version."""
        key = (await self.read(lambda: self.version), column)
        if key not in self._facets:
            found = await self.read(self.library.facets, column)
            self._facets = {old: values for old, values in self._facets.items() if old[0] == key[0]} | {key: found}
            return found
        return self._facets[key]

    async def dates(self) -> dict[str, int]:
        """How many photos were taken in each month; kept for one version."""
        version = await self.read(lambda: self.version)
        if self._dates is None or self._dates[0] != version:
            self._dates = (version, await self.read(self.library.dates))
        return self._dates[1]

    async def notes(self, where: Where | None, total: int, *, paths: bool) -> list[str]:
        """What to say of a filter that left nothing; without `paths` not where files are."""
        if where is None or total:
            return []
        return [await self.read(self.library.nothing_passes, where, () if paths else PLACES)]

    async def about(self, identifier: str) -> RowFacts:
        """One image. Raises ServeError(404)."""
        found = await self.read(self.library.facts, [identifier])
        if not found:
            raise errors.no_item(identifier)
        return found[0]

    async def vector_of(self, identifier: str) -> Vector:
        """The vector of one image. Raises ServeError(404)."""
        try:
            return await self.read(self.library.vector_of, identifier)
        except DataError as error:
            raise errors.no_item(identifier) from error

    async def original(self, facts: RowFacts, limit: int) -> bytes:
        """The encoded bytes of an image, from its file; containers are not opened.

        Raises ServeError(404) when the file is gone, or no longer holds what was indexed.
        """
        return await self.read(_original, self.library.uploads.image(facts.path), facts.content, limit)

    async def thumbnail(self, content: str) -> bytes | None:
        """The JPEG thumbnail of a content fingerprint."""
        return await self.read(self.library.thumbnails.read, content)

    async def read(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a reading function in a thread of this library's own."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *arguments)

    async def close(self) -> None:
        """Finish what was accepted."""
        await asyncio.gather(self._searches.close(), self._changes.close())
        self._reading.shutdown(wait=True)

    def _search_many(self, asked: Sequence[tuple[Vector, int]]) -> list[Answer]:
        return self.library.search_many(np.stack([vector for vector, _ in asked]), [k for _, k in asked])

    def _plan(self, newest: bool) -> Plan:
        known = None if newest else self.mapper.latest
        return known or self.mapper.plan(self.version, self.library.points)


class ServedLibraries:
    """All served libraries by name, and all loaded models; those of one model share its batches.

    Args:
        folders: of the libraries, by name.
        models: those that are loaded already, of libraries or for /v1 alone.
        load: gives any other model by the name in a library's card; `diptych.models.load` when left out.

    Raises LibraryError when a folder is no library, ModelError when its model cannot be loaded.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        models: Sequence[Encoder],
        pressure: Pressure,
        metrics: Metrics,
        *,
        load: Loader | None = None,
        cross_encoder: ServedCrossEncoder | None = None,
    ) -> None:
        self._load, self._pressure, self._metrics = load or _shipped_or_saved, pressure, metrics
        distinct = {model.fingerprint: model for model in models}
        self.embedders = [self._embedder(model) for model in distinct.values()]
        self._served: dict[str, ServedLibrary] = {}
        for name, folder in folders.items():
            embedder = self._embedder_or_none(folder)
            if embedder is not None:
                self._note(embedder)
            self._served[name] = ServedLibrary(name, folder, embedder, pressure, metrics, cross_encoder)
        self._kept = distinct.keys() - {one.library.card.fingerprint for one in self._served.values()}
        self._switching: dict[str, asyncio.Task[None]] = {}
        self._tried: dict[str, float] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def __iter__(self) -> Iterator[ServedLibrary]:
        return iter([self.get(name) for name in self._served])

    def __len__(self) -> int:
        return len(self._served)

    def get(self, name: str) -> ServedLibrary:
        """A library. Raises ServeError(404). Of one that was re-embedded, the new one as soon as it is open."""
        if name not in self._served:
            raise errors.no_library(name)
        served = self._served[name]
        if served.has_moved_on() and self._may_switch(name):
            self._switching[name] = asyncio.get_running_loop().create_task(self._switch(served), name=f"open-{name}")
        return served

    def model(self, name: str | None) -> Embedder:
        """A model by name or fingerprint; the first without either.

        Raises ServeError: 404 when there is none, 422 when several have the name.
        """
        found = [one for one in self.embedders if name is None or name == one.model.fingerprint]
        found = found or [one for one in self.embedders if is_called(str(name), one.name)]
        if not found:
            raise errors.ServeError(
                404, "no_such_model", f"no model {str(name)[:40]!r} is loaded", "GET /v1/models lists those that are."
            )
        if name is not None and len(found) > 1:
            raise errors.ServeError(422, "bad_request", f"{len(found)} models are called {name[:40]!r}",
                                    "Give the fingerprint of one, as GET /v1/models lists it.")  # fmt: skip
        return found[0]

    async def close(self) -> None:
        """Finish what was accepted."""
        self._closing.set()
        await asyncio.gather(*self._switching.values())
        await asyncio.gather(*self._leaving)
        await asyncio.gather(*(served.close() for served in self))
        await asyncio.gather(*(embedder.close() for embedder in self.embedders))

    # -- libraries that were re-embedded ---------------------------------------------------------

    def _may_switch(self, name: str) -> bool:
        under_way = self._switching.get(name)
        if (under_way is not None and not under_way.done()) or self._closing.is_set():
            return False
        return time.monotonic() - self._tried.get(name, -_AGAIN) >= _AGAIN

    async def _switch(self, old: ServedLibrary) -> None:
        """Open the library with its new model, then let it take the old one's place."""
        self._tried[old.name] = time.monotonic()
        try:
            new = await asyncio.to_thread(self._reopened, old)
            await asyncio.gather(asyncio.to_thread(new.warm), new.embedder.warm(), new.open_store())
        except Exception as error:  # the old one goes on searching what it knows; it is tried again
            errors.log.error("%s was re-embedded, and cannot be opened", old.name, exc_info=error)
            return
        self._served[old.name] = new
        self._tried.pop(old.name)
        self._note(new.embedder)
        errors.log.warning("%s was re-embedded: it is served with the model %s now", old.name, new.embedder.name)
        leaving = asyncio.get_running_loop().create_task(self._retire(old))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _reopened(self, old: ServedLibrary) -> ServedLibrary:
        embedder = self._embedder_of(old.folder)
        return ServedLibrary(old.name, old.folder, embedder, self._pressure, self._metrics, old.cross_encoder)

    def _embedder_of(self, folder: Path) -> Embedder:
        """The model of a library, loaded now unless it was before. Blocks."""
        about = card.read(folder)
        for embedder in self.embedders:
            if embedder.model.fingerprint == about.fingerprint:
                return embedder
        return self._embedder(model_of(about, folder, self._load))

    def _embedder_or_none(self, folder: Path) -> Embedder | None:
        """The same; None, with a line in the log, where its model is another by now."""
        try:
            return self._embedder_of(folder)
        except card.OtherModelError as error:
            errors.log.warning("%s", error)
            return None

    def _note(self, embedder: Embedder) -> None:
        if embedder not in self.embedders:
            self.embedders.append(embedder)

    def _embedder(self, model: Encoder) -> Embedder:
        return Embedder(model.name, model, self._pressure, self._metrics)

    async def _retire(self, old: ServedLibrary) -> None:
        """Close what nobody uses any more, once no request can have it in hand."""
        leaving = old.loaded
        if leaving in [one.loaded for one in self] or old.library.card.fingerprint in self._kept:
            leaving = None
        if leaving is not None:
            self.embedders.remove(leaving)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._pressure.deadline + self._pressure.body_deadline)
        await old.close()
        if leaving is not None:
            await leaving.close()


def is_called(name: str, model: str) -> bool:
    """Whether a name means a model: with `diptych-` in front or without, as on the command line."""
    return name.removeprefix(_PREFIX) == model.removeprefix(_PREFIX)


def _signature(folder: Path) -> tuple[int, int]:
    """Changes when the card of a library is rewritten."""
    try:
        found = os.stat(folder / card.FILE)  # noqa: PTH116 - asked for with every request
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


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
        found[name] = folder_of(os.path.expanduser(folder))  # noqa: PTH111 (a path has no // after s3:)
    return found


def _name_for(folder: Path) -> str:
    stem = folder.expanduser().resolve().name.removesuffix(".library")
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem).strip("-") or "library"


def _original(image: ImageRef, content: str, limit: int) -> bytes:
    try:
        image.stated_bytes()  # refuses what is no file, without opening it
        with image.open() as stream:
            data = stream.read(limit + 1)
    except (DataError, OSError, ValueError) as error:
        raise _no_file("is not there any more") from error
    if content_of(data) != content:
        raise _no_file("has changed since it was indexed")
    return data


def _no_file(what: str) -> errors.ServeError:
    return errors.ServeError(404, "no_file", f"the file of this image {what}", "Use its thumbnail.")


def _shipped_or_saved(name: str) -> Encoder:
    from diptych.models import load

    return load(name)
