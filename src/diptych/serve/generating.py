"""Images from words, by any generator."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import PIL.Image

from diptych.core.shapes import UInt8

SEEDS = 2**31  # of them, from 0: few enough to be written down


@runtime_checkable
class Generator(Protocol):
    """What is asked of a generator: equal texts and seeds give equal images."""

    def generate(self, texts: Sequence[str], *, seed: int = 0, lang: str = "") -> UInt8[np.ndarray, "n h w 3"]:
        """One image for each text. Raises DataError or LimitError for a text that it cannot read."""
        ...


def name_of(generator: Generator) -> str:
    """What the API calls it: its own name, or that of its folder."""
    name = getattr(generator, "name", None) or getattr(getattr(generator, "folder", None), "name", None)
    return str(name or "generator")


def new_seed() -> int:
    """A seed that nobody could have guessed."""
    return secrets.randbelow(SEEDS)


def as_png(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """An image as a data URI."""
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return png_uri(stream.getvalue())


def png_uri(data: bytes) -> str:
    """PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
