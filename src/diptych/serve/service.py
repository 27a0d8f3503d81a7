"""What every operation of the API needs, in one place; made once for each application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request

from diptych.core.errors import ConfigError, DataError, DiptychError, ModelError
from diptych.inspection.relating import Calibrations
from diptych.library.own_probability import Asked
from diptych.library.relevant import Judge

from . import schemas
from .background import Background
from .classifying import LabelVectors
from .copies import CopyFinder
from .cross_encoder import ServedCrossEncoder
from .decoding import DecoderPool
from .errors import ServeError
from .fetching import Fetcher
from .generating import Generator
from .health import Health
from .inputs import Inputs
from .libraries import ServedLibraries, ServedLibrary
from .metrics import Metrics
from .once import Once
from .settings import ServeSettings
from .slow_queue import SlowQueue


class Service:
    """The parts behind the routes."""

    def __init__(
        self,
        settings: ServeSettings,
        libraries: ServedLibraries,
        metrics: Metrics,
        fetcher: Fetcher | None = None,
        *,
        cross_encoder: ServedCrossEncoder | None = None,
        generator: Generator | None = None,
    ) -> None:
        pressure, images = settings.pressure, settings.limits.images
        self.settings, self.libraries, self.metrics = settings, libraries, metrics
        self.cross_encoder, self.generator = cross_encoder, generator
        self.calibrations: Mapping[str, Calibrations] = {}  # of pairs, by the fingerprint of their model
        self.once, self.label_vectors = Once(), LabelVectors()
        self.health = Health(self._embed_a_text)
        self.slow_queue = SlowQueue(pressure, metrics)
        self.copies = CopyFinder(pressure, metrics)
        self.background = Background("an upload has no tokens yet; run: diptych rerank prepare")
        self.decoders = DecoderPool(
            pressure.decoders,
            images,
            memory=pressure.decode_memory,
            deadline=pressure.decode_deadline,
            on_replaced=metrics.decoders_replaced.inc,
        )
        if fetcher is None and settings.fetch_urls:
            fetcher = Fetcher()
        self._opening: list[asyncio.Task[None]] = []
        self.inputs = Inputs(self.decoders, images, fetcher if settings.fetch_urls else None)

    @asynccontextmanager
    async def running(self, *, warm: bool = True) -> AsyncIterator[None]:
        """Everything at work: warm from the start, unless told otherwise; what was accepted is finished at the end."""
        if warm:
            await self._warm()
        try:
            yield
        finally:
            await self._close()

    async def _warm(self) -> None:
        """Load models and snapshots and start the decoders, so that the first search is as quick as the next.

        What only filters and writes need is opened behind that.
        """
        await asyncio.gather(*(asyncio.to_thread(served.warm) for served in self.libraries))
        await asyncio.gather(self.decoders.start(), *(embedder.warm() for embedder in self.libraries.embedders))
        self._opening = [asyncio.create_task(served.open_store()) for served in self.libraries]

    async def _close(self) -> None:
        await self.once.close()
        await self.background.close()
        await asyncio.gather(self.slow_queue.close(), self.copies.close(), *self._opening)
        await self.libraries.close()
        await self.decoders.close()

    async def _embed_a_text(self) -> dict[str, float]:
        return {one.name: round(await one.check() * 1e3, 2) for one in self.libraries.embedders}

    def judge(self, served: ServedLibrary, asked: Asked, *, is_reranked: bool) -> Judge:
        """What tells relevant hits. Raises ServeError(422) where nothing is calibrated. Blocks, briefly."""
        given = self.calibrations.get(served.library.card.fingerprint)
        try:
            return served.library.judge(asked, given, is_reranked=is_reranked)
        except ConfigError as error:
            raise ServeError(422, "not_calibrated", str(error), "Leave only_relevant out; a server is given a "
                             "calibration by diptych serve --calibration FILE.json.") from error  # fmt: skip
        except DataError as error:  # a damaged file of the server's, whose name is for the log
            raise ModelError(str(error)) from error

    def judges(self, served: ServedLibrary, *, can_rerank: bool) -> bool:
        """Whether hits of words can be judged, re-ranked or not. Blocks, briefly."""
        try:
            self.judge(served, "text", is_reranked=can_rerank)
        except DiptychError:
            return False
        return True

    def features(self, served: ServedLibrary) -> schemas.Features:
        """What can be done with a library beyond searching. Blocks, briefly."""
        reranker, describes = served.library.reranker, self.cross_encoder is not None and self.cross_encoder.describes
        can_rerank = served.can_rerank()
        return schemas.Features(
            write=not self.settings.read_only,
            rerank=can_rerank,
            explain=served.loaded is not None,
            calibrated=can_rerank and reranker is not None and reranker.is_calibrated,
            relevant=served.loaded is not None and self.judges(served, can_rerank=can_rerank),
            attention=describes,
            caption=describes,
            copies=not served.library.holds_texts(),
            files=self.gives_files(served),
            generate=self.generator is not None,
            fetch_urls=self.settings.fetch_urls,
        )

    def gives_files(self, served: ServedLibrary) -> bool:
        """Whether files of a library's images are given out: only to who may know where they are. Blocks, briefly."""
        return self.settings.shows_paths and not served.library.holds_texts()

    def info(self, served: ServedLibrary) -> dict[str, Any]:
        """The fields of a LibraryInfo. Blocks, briefly."""
        card = served.library.card
        return {
            "name": served.name,
            "images": served.count(),
            "model": served.loaded.name if served.loaded else card.model,
            "dim": card.dim,
            "created": card.created,
            "version": served.version,
            "languages": served.loaded.languages if served.loaded else [],
            "features": self.features(served),
        }


def facts_of(path: str | None, about: Mapping[str, Any], *, paths: bool) -> dict[str, Any]:
    """The fields that an Item and a Hit share, from a row's path and what a hit has as `meta`."""
    meta = dict(about)
    name, width, height = meta.pop("name", None), meta.pop("width", None), meta.pop("height", None)
    texts = [str(text) for text in meta.pop("texts", [])]
    shown = path if paths else None
    return {"name": str(name or "image"), "path": shown, "width": width, "height": height, "texts": texts, "meta": meta}


def _service(request: Request) -> Service:
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


TheService = Annotated[Service, Depends(_service)]


async def _library(name: str, service: TheService) -> ServedLibrary:
    return service.libraries.get(name)


TheLibrary = Annotated[ServedLibrary, Depends(_library)]
