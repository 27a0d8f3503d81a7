"""Decoded pixels to what a tower takes, and to a thumbnail."""

from __future__ import annotations

import numpy as np
import PIL.Image
import simplejpeg

from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8

_REDUCING_GAP = 2.0  # shrink by whole steps first, down to twice the target; the rest is filtered
_THUMBNAIL_QUALITY = 85  # JPEG quality, 0..100


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
    pixels: UInt8[np.ndarray, "h w 3"],
    width: int,
    height: int,
    box: tuple[float, float, float, float] | None = None,
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Resize with an antialiased bicubic filter; `box` is the part of the image to take (left, top, right, bottom)."""
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((width, height), PIL.Image.Resampling.BICUBIC, box, _REDUCING_GAP)
    return np.array(small)
