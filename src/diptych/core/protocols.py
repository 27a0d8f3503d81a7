"""Protocols: what a tower, a cross-encoder and a progress reporter must offer.

Everything here works on NumPy arrays, so that a tower may run on ONNX Runtime, NumPy or PyTorch
and nothing downstream can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from diptych.core.shapes import Float, Float16, Float32, UInt8

from .errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a decoded RGB image becomes an image tower's input.

    An image is resized to `size` x `size` pixels, either squashed ("squash") or scaled by its
    shorter side and cut to the centre ("crop"), then each channel becomes (x - mean) / std with
    mean and std in 0..255 units.
    """

    size: int = 224  # pixels
    mode: str = "squash"
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)

    def __post_init__(self) -> None:
        if self.mode not in ("squash", "crop"):
            raise ConfigError(f"unknown preprocess mode {self.mode!r}; choose from crop, squash")
        if self.size < 1:
            raise ConfigError(f"preprocess size must be at least 1 pixel, found {self.size}")


@runtime_checkable
class Tower(Protocol):
    """What image and text towers have in common.

    `dim` is d; `fingerprint` changes when weights or preprocessing do. A tower may have a `storage`: how its rows are
    cached, "float16" unless it says "int32" or "uint8".
    """

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...


@runtime_checkable
class ImageTower(Tower, Protocol):
    """Pixels to features."""

    @property
    def preprocess(self) -> Preprocess: ...

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of resized RGB images; normalising by mean and std happens inside."""
        ...


@runtime_checkable
class MapTower(ImageTower, Protocol):
    """An image tower whose features are feature maps, flattened one after the other.

    `maps` are their (channels, rows, columns), finest first: d is the sum of their products.
    """

    @property
    def maps(self) -> tuple[tuple[int, int, int], ...]: ...


@runtime_checkable
class TextTower(Tower, Protocol):
    """Texts to features. `languages` are the ISO 639-1 codes it was made for; empty means unknown."""

    @property
    def languages(self) -> frozenset[str]: ...

    @property
    def max_tokens(self) -> int | None: ...

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Features of texts; an empty string is allowed and gives a finite vector."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before any cut at `max_tokens`."""
        ...


@runtime_checkable
class CrossEncoder(Protocol):
    """A model that looks at an image and a text together: tokens of an image once, then scores with texts.

    Slower and more exact than a dual encoder's cosine, so it re-ranks what a dual encoder found.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def token_shape(self) -> tuple[int, int]:
        """(tokens, width) of one image."""
        ...

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b s s 3"]) -> Float16[np.ndarray, "b r w"]:
        """Tokens of images already resized as `preprocess` says."""
        ...

    def score(self, image_tokens: Float[np.ndarray, "b r w"], texts: str) -> Float32[np.ndarray, " b"]:
        """Score of each image with the text; higher is a better match."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Long work reports here; the CLI draws a bar on stderr, tests and servers pass `SILENT`."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield the items, advancing once for each."""
        ...

    def say(self, message: str) -> None:
        """One line of news."""
        ...


class _Silent:
    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        yield from items

    def say(self, message: str) -> None:
        return None


SILENT: Progress = _Silent()
