"""A small library behind the service: in process (ASGI), and as a real server on a loopback port."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi", reason="serving needs the [serve] extra")

import httpx

from diptych.core.errors import DataError, Reason
from diptych.library import Library
from diptych.serve import run
from diptych.serve.app import Application, create_app
from diptych.serve.cross_encoder import ServedCrossEncoder
from diptych.serve.settings import Pressure, ServeSettings


def _mosaic() -> Any:
    """The encoder of the library's tests: images by colour, texts by the colours they name."""
    path = Path(__file__).parent.parent / "library" / "conftest.py"
    spec = importlib.util.spec_from_file_location("library_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MOSAIC = _mosaic()
COLOURS = MOSAIC.COLOURS


def encoded(
    colour: str | tuple[int, int, int] = "red", form: str = "PNG", size: tuple[int, int] = (40, 30), mark: int = 0
) -> bytes:
    """An image of one colour, as an upload; `mark` makes its bytes differ."""
    image = PIL.Image.new("RGB", size, COLOURS.get(colour, colour) if isinstance(colour, str) else colour)
    image.putpixel((0, 0), (mark % 256, mark // 256 % 256, 1))
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


@dataclass
class Site:
    """A library on disk and the parts to serve it."""

    folder: Path
    images: Path
    encoder: Any

    def app(self, **changes: Any) -> Application:
        generator = changes.pop("generator", None)
        settings = ServeSettings(**{"pressure": Pressure(decoders=1), **changes})
        return create_app(settings, {"colours": self.folder}, [self.encoder], generator=generator)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of one colour each, and a library of them, made once."""
    folder = tmp_path_factory.mktemp("site")
    lines = []
    for place, colour in enumerate(COLOURS):
        MOSAIC.paint(folder / "images" / f"{colour}.png", colour)
        album = "odd" if place % 2 else "even"
        line = {"image": f"{colour}.png", "text": f"a {colour} thing", "album": album, "year": 2000 + place}
        lines.append(json.dumps(line) + "\n")
    (folder / "images" / "list.jsonl").write_text("".join(lines))
    Library.create(folder / "library", MOSAIC.MosaicEncoder()).index([folder / "images" / "list.jsonl"])
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Site:
    """A copy of the library for this test alone."""
    shutil.copytree(made / "library", tmp_path / "library")
    return Site(tmp_path / "library", made / "images", MOSAIC.MosaicEncoder())


@asynccontextmanager
async def _client(application: Application, **named: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with (
        application.running(warm=False),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", timeout=30, **named) as client,
    ):
        yield client


@pytest.fixture
def client_of() -> Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]:
    """`async with client_of(application) as client`: the application without a socket."""
    return _client


@pytest.fixture
def ask(site: Site) -> Callable[..., Any]:
    """Run a coroutine function of a client against the service: `ask(scenario, **settings)`."""

    def asked(scenario: Callable[[httpx.AsyncClient], Any], **changes: Any) -> Any:
        async def whole() -> Any:
            async with _client(site.app(**changes)) as client:
                return await scenario(client)

        return asyncio.run(whole())

    return asked


@dataclass
class Running:
    """A real server on a loopback port."""

    url: str
    port: int
    application: Application
    stop: Callable[[], None]


@contextmanager
def running(application: Application) -> Iterator[Running]:
    """Serve in a thread until the block ends."""
    settings = application.service.settings
    listener = run.bind(settings)
    server = run.server(application, settings)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        threading.Event().wait(0.02)
    port = listener.getsockname()[1]

    def stop() -> None:
        server.should_exit = True
        thread.join(40)

    try:
        yield Running(f"http://127.0.0.1:{port}", port, application, stop)
    finally:
        stop()
        listener.close()


@pytest.fixture
def serve(site: Site) -> Iterator[Callable[..., Running]]:
    """Start real servers: `serve(**settings)`; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def started(**changes: Any) -> Running:
            return stack.enter_context(running(site.app(port=0, **changes)))

        yield started


@pytest.fixture
def image() -> Callable[..., bytes]:
    """Encoded images: `image("red", "JPEG")`."""
    return encoded


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Waves:
    """An image of the colour that is named, with waves; no two seeds alike."""

    name = "waves"

    def generate(self, texts: Sequence[str], *, seed: int = 0, lang: str = "") -> np.ndarray:
        found = []
        for at, text in enumerate(texts):
            if "nothing" in text:
                raise DataError("the text has no words that the model knows", Reason.EMPTY_TEXT)
            named = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
            random = np.random.default_rng([seed, at, *hashlib.sha256((text + lang).encode()).digest()])
            y, x = np.mgrid[0:32, 0:32] / 32
            waves = np.stack([10 * np.sin(6.28 * (a * x + b * y)) for a, b in random.uniform(-3, 3, (3, 2))], -1)
            found.append((np.mean(named or [(127, 127, 127)], axis=0) + waves).clip(0, 255).astype(np.uint8))
        return np.stack(found)


class Setting:
    """A library of shapes, its dual encoder, and a cross-encoder that was fitted to it."""

    def __init__(self, folder: Path, dual_encoder: Any, cross_encoder: Any) -> None:
        self.folder, self.dual_encoder, self.cross_encoder = folder, dual_encoder, cross_encoder

    @asynccontextmanager
    async def client(self, *, cross_encoder: bool = True, **changes: Any):
        settings = ServeSettings(pressure=Pressure(decoders=1, **changes))
        attached = ServedCrossEncoder(self.cross_encoder) if cross_encoder else None
        application = create_app(
            settings,
            {"shapes": self.folder},
            [self.dual_encoder],
            cross_encoder=attached,
        )
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        async with (
            application.running(warm=False),
            httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", timeout=60) as client,
        ):
            yield client

    def ask(self, scenario, **changes: Any) -> Any:
        async def whole() -> Any:
            async with self.client(**changes) as client:
                return await scenario(client)

        return asyncio.run(whole())


@pytest.fixture(scope="session")
def fitted(cross_encoder_run, small_model, shapes, tmp_path_factory) -> Setting:
    from diptych.data.readers import open_source
    from diptych.models import load
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.runs import reranking

    base = tmp_path_factory.mktemp("looking")
    shutil.copytree(cross_encoder_run.model, base / "slow")
    shutil.copytree(shapes.parent, base / "images")
    dual_encoder, cross_encoder = load(small_model), load_trained_cross_encoder(base / "slow", precision="float32")
    reranking.fit_reranker(dual_encoder, cross_encoder, list(open_source(shapes)), most=40)
    library = Library.create(base / "library", dual_encoder, str(small_model))
    library.index([base / "images"])
    library.add_tokens(cross_encoder)
    return Setting(base / "library", dual_encoder, cross_encoder)
