"""What a library needs of a model: a name, a fingerprint, and vectors of images and of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.none import NO_IMAGES


def with_images(encoder: Encoder) -> Encoder:
    """The encoder. Raises ModelError for one without an image side."""
    if not getattr(encoder, "has_images", True):
        raise ModelError(NO_IMAGES)
    return encoder


def as_queries(encoder: Encoder) -> Callable[[Sequence[str]], Float32[np.ndarray, "b d"]]:
    """What embeds texts that ask: by their own side, where the encoder has one."""
    found: Callable[[Sequence[str]], Float32[np.ndarray, "b d"]]
    found = getattr(encoder, "encode_queries", encoder.encode_texts)
    return found


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
