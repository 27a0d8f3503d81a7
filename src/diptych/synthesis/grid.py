"""Many pictures as one PNG."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from diptych.core.shapes import UInt8

_GAP = 2  # pixels between pictures


def draw_grid(pictures: UInt8[np.ndarray, "n h w 3"], columns: int) -> bytes:
    """The pictures row by row on white, as an encoded PNG."""
    count, height, width, _ = pictures.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    stream = io.BytesIO()
    PIL.Image.fromarray(sheet).save(stream, "PNG")
    return stream.getvalue()


def to_bytes(pictures: np.ndarray) -> UInt8[np.ndarray, "n h w 3"]:
    """Float pictures (n, 3, h, w) in [-1, 1] as bytes (n, h, w, 3)."""
    scaled = np.clip((pictures + 1) * 127.5, 0, 255)
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(0, 2, 3, 1))
