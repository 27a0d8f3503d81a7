"""Turns images into the input of a tower, and into thumbnails. Equal bytes give equal pixels, whatever the source."""

from __future__ import annotations

import numpy as np
import PIL.Image
import simplejpeg

from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.data.image_inputs import DEFAULT_LIMITS, ImageInput, ImageLimits

from .decode import decode

_REDUCING_GAP = 2.0  # shrink by whole steps first, down to twice the target; the rest is filtered
_THUMBNAIL_QUALITY = 85  # JPEG quality, 0..100


# A JPEG is decoded to at least this many times the tower's size. At 1 the pixels of a detailed photo differ
# from those of a full decode by 2.3 grey levels on average, at 2 by 0.4, for a quarter more time.
_SPARE = 2
SPARE_PIXELS = 256  # in the shorter side, at least, where the file has them: enough for a thumbnail too


def prepare(pixels: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """An array of `preprocess.shape`, made as `Preprocess` says, by an antialiased filter.

    Pixels that have the right size already are handed back untouched.
    """
    height, width = pixels.shape[:2]
    size, mode = preprocess.size, preprocess.mode
    if mode == "shortest":
        return _cut(_scaled(pixels, (preprocess.resize or size) / min(height, width), preprocess), size)
    if mode == "longest":
        return _padded(_scaled(pixels, size / max(height, width), preprocess), size, preprocess.fill)
    if (height, width) == (size, size):
        return pixels
    box = (0.0, 0.0, float(width), float(height))
    if mode == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return _filtered(pixels, size, size, preprocess, box)


def _scaled(pixels: UInt8[np.ndarray, "h w 3"], scale: float, preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """Both sides by one scale; the longer one rounded down, as torchvision does it."""
    height, width = (max(1, int(side * scale + 1e-6)) for side in pixels.shape[:2])
    return pixels if (height, width) == pixels.shape[:2] else _filtered(pixels, width, height, preprocess)


def _cut(pixels: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The central square."""
    top, left = (round((side - size) / 2) for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def _padded(pixels: UInt8[np.ndarray, "h w 3"], size: int, fill: tuple[int, int, int]) -> UInt8[np.ndarray, "s s 3"]:
    """In the middle of a square of one colour."""
    square = np.empty((size, size, 3), dtype=np.uint8)
    square[:] = fill
    height, width = pixels.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _filtered(
    pixels: UInt8[np.ndarray, "h w 3"],
    width: int,
    height: int,
    preprocess: Preprocess,
    box: tuple[float, float, float, float] | None = None,
) -> UInt8[np.ndarray, "hh ww 3"]:
    gap = None if preprocess.exact else _REDUCING_GAP
    return resized(pixels, width, height, box, interpolation=preprocess.interpolation, reducing_gap=gap)


def thumbnail(pixels: UInt8[np.ndarray, "h w 3"], longest: int = 256) -> bytes:
    """A fresh JPEG, longer side at most `longest` pixels: no metadata, nothing else of the original file."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale < 1.0:
        pixels = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_THUMBNAIL_QUALITY)
    return encoded


def resized(
    pixels: UInt8[np.ndarray, "h w 3"],
    width: int,
    height: int,
    box: tuple[float, float, float, float] | None = None,
    *,
    interpolation: str = "bicubic",
    reducing_gap: float | None = _REDUCING_GAP,
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Resize with an antialiased filter; `box` is the part of the image to take (left, top, right, bottom).

    With a `reducing_gap`, large images are first reduced by whole factors, down to that many times the target.
    """
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((width, height), PIL.Image.Resampling[interpolation.upper()], box, reducing_gap)
    return np.array(small)


def decode_for(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "h w 3"]:
    """The decoded pixels that `prepare` takes; of a large JPEG a reduced version, its shorter side 256 or more.

    Where the preprocessing is to be exact, the whole image. Raises DataError as `decode` does.
    """
    if preprocess.exact:
        return decode(source, limits)
    return decode(source, limits, at_least=max(_SPARE * preprocess.size, SPARE_PIXELS))


def prepared(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "hh ww 3"]:
    """The pixels that a tower takes, as indexing, uploads, queries, evaluation and explanations make them."""
    return prepare(decode_for(source, preprocess, limits), preprocess)
