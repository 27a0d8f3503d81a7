"""Small real pictures and a short way to read a source."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.core.types import Pair, Skipped
from diptych.data.readers import SourceOptions, open_source


def encoded(seed: int = 0, kind: str = "JPEG") -> bytes:
    """A 32 x 24 picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def jpeg():
    return encoded


@pytest.fixture
def pictures(tmp_path: Path):
    """`pictures("a.jpg", "b/c.jpg")` writes these pictures below tmp_path."""

    def write(*names: str) -> Path:
        for seed, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(seed))
        return tmp_path

    return write


@pytest.fixture(scope="session")
def read():
    """`pairs, skipped = read(path, text_columns=("en",))`."""

    def read_all(path: Path, **options: object) -> tuple[list[Pair], list[Skipped]]:
        source = open_source(path, SourceOptions(**options))
        return list(source), source.skipped

    return read_all
