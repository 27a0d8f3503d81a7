"""Turns stored pixels into upright RGB: transparency on white, 16-bit grey as viewers show it, EXIF applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from diptych.core.errors import DataError, Reason
from diptych.core.shapes import Shaped, UInt8

from .exif_blocks import block_of, is_bomb

_ORIENTATION = 0x0112  # EXIF tag
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_8 = 255

# What puts an image with this EXIF orientation upright; any other value leaves it as it is.
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
    if is_bomb(block_of(image)):
        return 1
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
    """The loaded image as 8-bit RGB, transparent parts on white."""
    if image.mode.startswith(("I", "F")):  # I, I;16, I;16B, F: more than 8 bits of grey
        return _grey_to_rgb(_deep_grey(image))
    if image.has_transparency_data:
        clear = image.info.get("transparency")
        if isinstance(clear, tuple) and max(clear) > _WHITE_8:  # of 16-bit colours, whose pixels Pillow has cut to 8
            image.info["transparency"] = tuple(value >> 8 for value in clear)
        layered = image.convert("RGBA")
        flat = PIL.Image.new("RGB", image.size, "white")
        flat.paste(layered, mask=layered.getchannel("A"))
        return np.array(flat)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _deep_grey(image: PIL.Image.Image) -> UInt8[np.ndarray, "h w"]:
    """Unsigned grey of up to 16 bits by the scale of its type; signed, wider and float grey by its range."""
    values = np.asarray(image)
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits = _first(tags.get(_BITS), 16)
    is_sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if not is_sixteen:
        unsigned = image.mode == "I" and _first(tags.get(_SAMPLE_FORMAT), 0) == 1
        return stretch(values.astype(np.uint32) if unsigned else values)
    white = (1 << bits) - 1
    grey = np.asarray((np.minimum(values, white).astype(np.uint32) * _WHITE_8 + white // 2) // white, dtype=np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        grey = _WHITE_8 - grey
    clear = image.info.get("transparency")
    return np.where(values == clear, np.uint8(_WHITE_8), grey) if isinstance(clear, int) else grey


def _first(tag: Any, otherwise: int) -> int:
    value = tag[0] if isinstance(tag, tuple) and tag else tag
    return value if isinstance(value, int) and value > 0 else otherwise


def stretch(values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Map the range of the values to 0..255, so that nothing is clipped whatever their unit is.

    Infinities and NaN become black. Where all values are one, it is taken for a share of white up to 1, for a
    grey level up to 255, for one of 16 bits up to 65535; what is beyond is black or white.
    """
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    if high <= low:
        white = next((scale for scale in (1.0, 255.0, 65535.0) if low <= scale), low)
        return np.where(finite, np.uint8(round(255 * max(0.0, low) / white)), np.uint8(0))
    scale = 1.0 / max(abs(low), abs(high))  # first, so that high - low cannot overflow
    share = (values * scale - low * scale) / (high * scale - low * scale)
    return np.asarray(np.rint(np.where(finite, share, 0.0) * 255), dtype=np.uint8)


def array_to_rgb(values: NDArray[Any]) -> UInt8[np.ndarray, "h w 3"]:
    """An array in memory as RGB: uint8, (h, w) grey, (h, w, 1) grey, (h, w, 3) RGB or (h, w, 4) RGBA.

    uint16 is scaled to 8 bits, black and white are two levels, and grey of any other type is stretched by its
    range, as in files.
    Raises DataError(malformed) for other shapes and types.
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif values.dtype == np.bool_:
        values = np.where(values, np.uint8(_WHITE_8), np.uint8(0))
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
