"""A small real encoder (colours of a 4x4 mosaic through a fixed matrix), and pictures to index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych.core.cosine import normalise
from diptych.core.protocols import Preprocess
from diptych.data.images import prepared
from diptych.library import Library
from diptych.library.store import places

COLOURS = {
    "black": (10, 10, 10),
    "white": (245, 245, 245),
    "red": (220, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 220),
    "yellow": (230, 220, 20),
}


class MosaicEncoder:
    """Pictures by the colours of a 4x4 mosaic; a text is the picture of the colours that it names."""

    dim = 16

    def __init__(self, name: str = "mosaic", seed: int = 0) -> None:
        self.name = name
        self.preprocess = Preprocess(size=32)
        self._matrix = np.random.default_rng(seed).normal(size=(48, self.dim))
        self.fingerprint = hashlib.sha256(self._matrix.tobytes()).hexdigest()[:32]
        self.embedded = 0

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        self.embedded += len(pixels)
        mosaic = pixels.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(len(pixels), 48)
        return normalise((mosaic / 127.5 - 1) @ self._matrix)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        rows = []
        for text in texts:
            named = [COLOURS[word] for word in text.lower().split() if word in COLOURS] or [(127, 128, 127)]
            rows.append(np.broadcast_to(np.mean(named, axis=0), (32, 32, 3)))
        before = self.embedded
        vectors = self.encode_pixels(np.array(rows))
        self.embedded = before
        return vectors

    def encode_images(self, images: Sequence[Any]) -> np.ndarray:
        before = self.embedded
        vectors = self.encode_pixels(np.array([prepared(image, self.preprocess) for image in images]))
        self.embedded = before
        return vectors


def paint(path: Path, colour: str | tuple[int, int, int], size: tuple[int, int] = (40, 30), mark: int = 0) -> Path:
    """A picture of one colour with a small block whose place and shade depend on `mark`."""
    image = PIL.Image.new("RGB", size, COLOURS[colour] if isinstance(colour, str) else colour)
    if mark:
        x, y = mark % 4 * size[0] // 4, mark // 4 % 4 * size[1] // 4
        image.paste(
            ((mark * 37) % 256, (mark * 91) % 256, (mark * 53) % 256), (x, y, x + size[0] // 4, y + size[1] // 4)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def encoder() -> MosaicEncoder:
    return MosaicEncoder()


@pytest.fixture
def other_encoder() -> MosaicEncoder:
    return MosaicEncoder("other", seed=1)


@pytest.fixture
def painter() -> Callable[..., Path]:
    return paint


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures of one colour each, one of them in a sub-folder."""
    folder = tmp_path / "pictures"
    for colour in COLOURS:
        paint(folder / ("sub" if colour == "yellow" else ".") / f"{colour}.png", colour)
    return folder


@pytest.fixture
def library(tmp_path: Path, encoder: MosaicEncoder) -> Library:
    return Library.create(tmp_path / "library", encoder)


@pytest.fixture
def filled(library: Library, pictures: Path) -> Library:
    library.index([pictures])
    return library


@pytest.fixture
def fake(monkeypatch):
    """A server in this process that stores are opened on by fake://COLLECTION."""
    from .fake_remote import SCHEME, FakeServer  # not above: the tests of `serve` read this file by its path

    server = FakeServer()
    monkeypatch.setitem(places.KINDS, SCHEME, server.place)
    return server
