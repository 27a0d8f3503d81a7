"""Protocols: what a tower, a cross-encoder and a progress reporter must offer.

Everything here works on NumPy arrays, so that a tower may run on ONNX Runtime, NumPy or PyTorch
and nothing downstream can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from diptych.core.shapes import Bool, Float, Float16, Float32, UInt8

from .errors import ConfigError

T = TypeVar("T")


PREPROCESS_MODES = ("squash", "crop", "shortest", "longest", "patches", "sound")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
ROUNDINGS = ("even", "down")
SOUND_BANDS = 64  # rows of a sound's spectrogram
_RESIZING_MODES = ("squash", "shortest", "longest")  # those with a `resize`


@dataclass(frozen=True, slots=True, repr=False)
class Preprocess:
    """How a decoded RGB image becomes an image tower's input; then each channel becomes (x - mean) / std.

    Modes, all of which give arrays of one `shape`:
        squash: resized to `resize` x `resize`, whatever its sides were.
        shortest: the shorter side is resized to `resize`, and the longer one in proportion.
        longest: the longer side is resized to `resize`, and the shorter one in proportion.
        crop: the central square of the image, resized to `size`.
        patches: the sides are kept in proportion and become multiples of `patch`, at most (size / patch)² patches in
            all; they are packed into one array, see `diptych.data.images.patches`.
        sound: no image but a sound, as its log-mel spectrogram (`diptych.data.sounds`): its first `size` frames of
            10 ms, black behind its end.
    After the first three the central square of `size` is cut out; where a side is shorter, it is padded with `fill`.

    Args:
        size: pixels; frames in "sound".
        mean, std: of each channel, in 0..255 units.
        interpolation: the resizing filter, antialiased as Pillow does it.
        resize: pixels; 0 is `size`.
        fill: the colour of the padding.
        rounding: of half an odd margin that is cut off: "even", to the nearest even number as torchvision does it,
            or "down", as transformers does it.
        width_first: the width is resized before the height, as torchvision does it. Otherwise Pillow chooses: from
            version 13 on the height comes first where it shrinks much more, which changes sharp edges by some levels.
        exact: images are decoded whole and resized in one step, as the libraries of pretrained models do; otherwise
            large ones are first reduced by whole factors, which is quicker and differs by less than a grey level.
        patch: pixels of a patch's side, in "patches".
        frames: of a video, evenly spread, that stand below one another in the array; an image is repeated. Not with
            "patches" or "sound".
    """

    size: int = 224
    mode: str = "squash"
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    interpolation: str = "bicubic"
    resize: int = 0
    fill: tuple[int, int, int] = (0, 0, 0)
    rounding: str = "even"
    width_first: bool = False
    exact: bool = False
    patch: int = 0
    frames: int = 1

    def __post_init__(self) -> None:
        for what, found, choices in (
            ("preprocess mode", self.mode, PREPROCESS_MODES),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if found not in choices:
                raise ConfigError(f"unknown {what} {found!r}; choose from {', '.join(sorted(choices))}")
        if self.size < 1:
            raise ConfigError(f"preprocess size must be at least 1 pixel, found {self.size}")
        if self.mode == "patches" and (self.patch < 1 or self.size % self.patch):
            raise ConfigError(f"preprocess size {self.size} must be a multiple of the patch, found {self.patch}")
        if self.frames < 1 or (self.frames > 1 and self.mode in ("patches", "sound")):
            raise ConfigError(
                f"preprocess frames must be at least 1, and 1 with patches and sounds; found {self.frames}"
            )
        if self.resize and self.mode not in _RESIZING_MODES:
            raise ConfigError(f"preprocess resize goes with {', '.join(_RESIZING_MODES)}, not with {self.mode}")
        if self.resize and self.resize < self.size:
            raise ConfigError(f"a square of {self.size} cannot be cut from images resized to {self.resize} pixels")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, columns, 3) of a prepared image; packed patches have one row more, for their rows and columns."""
        if self.is_of_sounds:
            return SOUND_BANDS, self.size, 3
        return self.size * self.frames + (self.mode == "patches"), self.size, 3

    @property
    def of_frame(self) -> Preprocess:
        """How one frame is prepared."""
        return replace(self, frames=1)

    @property
    def is_of_sounds(self) -> bool:
        """Whether what is prepared are files of sound."""
        return self.mode == "sound"

    def stated(self) -> dict[str, Any]:
        """The fields as JSON-ready values, without those that came later and have their default.

        What is hashed and written is this, so that models from before those fields keep their fingerprints.
        """
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
            if name in _FIRST_FIELDS or value != _DEFAULTS[name]
        }

    def __repr__(self) -> str:
        kept = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.stated())
        return f"Preprocess({kept})"


_FIRST_FIELDS = ("size", "mode", "mean", "std")
_DEFAULTS = {field.name: field.default for field in fields(Preprocess)}


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
class TowersBeside(TextTower, Protocol):
    """A text tower whose rows are those of several, one after the other."""

    @property
    def parts(self) -> tuple[TextTower, ...]: ...


@runtime_checkable
class WordTower(TextTower, Protocol):
    """A text tower that also gives its state of each word within its text, as wide as its features.

    A word is whatever the network reads as one: for a transformer a token, without the special ones.
    """

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text in order, as far as the tower reads it; a text of none is one word itself."""
        ...

    def embed_words(
        self, texts: Sequence[str], most: int
    ) -> tuple[Float32[np.ndarray, "b d"], Float32[np.ndarray, "b w d"], Bool[np.ndarray, "b w"]]:
        """Features of texts, states of their first `most` words (w are in the longest), and where there is a word.

        The word of a text of none has the text's own features.
        """
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

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float16[np.ndarray, "b r w"]:
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
