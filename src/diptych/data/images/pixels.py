"""From whatever a file holds to upright RGB: alpha on white, deep greys by their range, EXIF honoured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from diptych.core.errors import DataError, Reason
from diptych.core.shapes import Shaped, UInt8

_ORIENTATION = 0x0112  # EXIF tag

# What puts a picture with this EXIF orientation upright; any other value leaves it as it is.
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


QUARTER_TURNS = (5, 6, 7, 8)  # those that swap width and height


def orientation(image: PIL.Image.Image) -> int:
    """The EXIF orientation, 1 when there is none or the EXIF block cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels, and breaks in every way there is
        return 1
    return value if isinstance(value, int) else 1


def upright(stored: UInt8[np.ndarray, "h w 3"], exif_orientation: int) -> UInt8[np.ndarray, "hh ww 3"]:
    """Turn or mirror the pixels as EXIF says (1 to 8); other values are ignored."""
    turn = _UPRIGHT.get(exif_orientation)
    return stored if turn is None else np.ascontiguousarray(turn(stored), dtype=np.uint8)


def to_rgb(image: PIL.Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """The loaded picture as 8-bit RGB, transparent parts on white."""
    if image.mode.startswith(("I", "F")):  # I, I;16, I;16B, F: more than 8 bits of grey
        return _grey_to_rgb(stretch(np.asarray(image)))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        flat = PIL.Image.new("RGB", image.size, "white")
        flat.paste(layered, mask=layered.getchannel("A"))
        return np.array(flat)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def stretch(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Map the range of the values to 0..255, so that nothing is clipped whatever their unit is.

    Infinities and NaN become black; a flat picture becomes black.
    """
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scale = 1.0 / max(abs(low), abs(high))  # first, so that high - low cannot overflow
    share = (values * scale - low * scale) / (high * scale - low * scale)
    return np.asarray(np.rint(np.where(finite, share, 0.0) * 255), dtype=np.uint8)


def array_to_rgb(values: NDArray[Any]) -> UInt8[np.ndarray, "h w 3"]:
    """An array in memory as RGB: uint8, (h, w) grey, (h, w, 1) grey, (h, w, 3) RGB or (h, w, 4) RGBA.

    Grey of any other type is stretched by its range, as a 16-bit or float file is.
    Raises DataError(malformed) for other shapes and types.
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim == 2 and values.dtype != np.uint8 and values.dtype.kind in "biuf":
        values = stretch(values)
    if values.dtype == np.uint8 and values.ndim == 2:
        return _grey_to_rgb(values)
    if values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 3:
        return np.ascontiguousarray(values)
    if values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 4:
        return to_rgb(PIL.Image.fromarray(np.ascontiguousarray(values)))
    raise DataError(
        f"found an array of shape {values.shape} and type {values.dtype}; "
        "expected uint8 of shape (h, w), (h, w, 3) or (h, w, 4)",
        Reason.MALFORMED,
    )


def _grey_to_rgb(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
