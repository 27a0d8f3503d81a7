"""Images from words, by any generator."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from diptych.core.shapes import UInt8


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


def png_uri(data: bytes) -> str:
    """PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
