"""What a library needs of a model: a name, a fingerprint, and vectors of images and of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float32, UInt8


@runtime_checkable
class Encoder(Protocol):
    """A dual encoder: images and texts in one space of `dim` dimensions, L2-normalised."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def preprocess(self) -> Preprocess: ...

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Vectors of images already resized as `preprocess` says."""

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Vectors of texts."""

    def encode_images(self, images: Sequence[Any]) -> Float32[np.ndarray, "b d"]:
        """Vectors of images given as paths, encoded bytes, arrays or PIL images."""
