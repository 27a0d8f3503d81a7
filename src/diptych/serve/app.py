"""The application: routes, errors, and the gate in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI

from diptych.core.version import __version__
from diptych.inspection.relating import Calibrations
from diptych.library import Encoder

from . import errors
from .admission import Admission
from .api import (
    copies,
    explaining,
    exporting,
    generating,
    items,
    models,
    only_known_parameters,
    relating,
    search,
    system,
)
from .cross_encoder import ServedCrossEncoder
from .fetching import Fetcher
from .gate import Gate
from .generating import Generator
from .libraries import Loader, ServedLibraries
from .metrics import Metrics
from .service import Service
from .settings import ServeSettings

_ABOUT = """Find images by words and words by images, in many languages, on your own machine.

Errors are always `{code, message, hint, request_id}`. Answers 429 and 503 say in `Retry-After` when to try again."""


class Application:
    """An ASGI application and its service. `async with application.running():` where no server runs the lifespan."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.api = _api(service)
        self._gate = Gate(self.api, service.settings, service.metrics)

    @property
    def admission(self) -> Admission:
        """Who may still come in; the server's protocol asks it too."""
        return self._gate.admission

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        """ASGI."""
        await self._gate(scope, receive, send)

    @asynccontextmanager
    async def running(self, *, warm: bool = True) -> AsyncIterator[Application]:
        """Started (with `warm`, so that the first request is as quick as the next), and closed afterwards."""
        async with self.service.running(warm=warm):
            yield self


def create_app(
    settings: ServeSettings,
    libraries: Mapping[str, Path],
    models: Sequence[Encoder] = (),
    *,
    fetcher: Fetcher | None = None,
    load: Loader | None = None,
    cross_encoder: ServedCrossEncoder | None = None,
    generator: Generator | None = None,
    calibrations: Sequence[Calibrations] = (),
) -> Application:
    """The application for libraries by name.

    `models` are loaded already, of libraries or for /v1 alone; `load` gives any other by the name in a library's card
    (`diptych.models.load` by default). `cross_encoder` re-ranks, describes and explains; `generator` draws;
    `calibrations` judge pairs, each with the model that it was fitted with.

    Raises LibraryError when a folder is no library, ModelError when its model cannot be loaded.
    """
    metrics = Metrics()
    served = ServedLibraries(libraries, models, settings.pressure, metrics, load=load, cross_encoder=cross_encoder)
    service = Service(settings, served, metrics, fetcher, cross_encoder=cross_encoder, generator=generator)
    service.calibrations = {one.model: one for one in calibrations}
    return Application(service)


def _api(service: Service) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    api = FastAPI(
        title="Diptych", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    api.router.redirect_slashes = False
    api.state.service = service
    errors.install(api)
    for router in (models, relating, generating, search, explaining, copies, exporting, items, system):
        api.include_router(router.router, dependencies=[Depends(only_known_parameters)])
    api.include_router(system.pages)
    return api
