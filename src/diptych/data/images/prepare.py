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


def prepare(pixels: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "s s 3"]:
    """Resize to `preprocess.size` squared with an antialiased bicubic filter.

    "squash" takes the whole image; "crop" takes the central square, which is the same as scaling the
    shorter side and cutting the centre. Pixels of the right size are handed back untouched.
    """
    height, width = pixels.shape[:2]
    size = preprocess.size
    if (height, width) == (size, size):
        return pixels
    box = (0.0, 0.0, float(width), float(height))
    if preprocess.mode == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return resized(pixels, size, size, box)


def thumbnail(pixels: UInt8[np.ndarray, "h w 3"], longest: int = 256) -> bytes:
    """A fresh JPEG, longer side at most `longest` pixels: no metadata, nothing else of the original file."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale < 1.0:
        pixels = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_THUMBNAIL_QUALITY)
    return encoded


def resized(
    pixels: UInt8[np.ndarray, "h w 3"], width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Resize with an antialiased bicubic filter; `box` is the part of the image to take (left, top, right, bottom)."""
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((width, height), PIL.Image.Resampling.BICUBIC, box, _REDUCING_GAP)
    return np.array(small)


def decode_for(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "h w 3"]:
    """The decoded pixels that `prepare` takes; of a large JPEG a reduced version, its shorter side 256 or more.

    Raises DataError as `decode` does.
    """
    return decode(source, limits, at_least=max(_SPARE * preprocess.size, SPARE_PIXELS))


def prepared(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "s s 3"]:
    """The pixels that a tower takes, as indexing, uploads, queries, evaluation and explanations make them."""
    return prepare(decode_for(source, preprocess, limits), preprocess)
