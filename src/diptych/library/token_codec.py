"""Region tokens as bytes: every token in 8 bits with a scale of its own, a quarter of the room of single precision.

A token of w numbers takes w + 2 bytes: 49 tokens of 256 numbers 12.6 kB an image.
"""

from __future__ import annotations

import numpy as np

from diptych.core.shapes import Float, Float16, UInt8

_MOST = 127
_SCALE = 2  # bytes of a scale


def packed_size(regions: int, width: int) -> int:
    """Bytes of an image's tokens."""
    return regions * (width + _SCALE)


def pack(tokens: Float[np.ndarray, "n r w"]) -> UInt8[np.ndarray, "n p"]:
    """Tokens as rows of bytes: the numbers of all, then their scales in half precision."""
    wide = np.asarray(tokens, dtype=np.float32)
    largest = np.abs(wide).max(axis=-1, keepdims=True)
    scales = np.maximum(largest / _MOST, np.finfo(np.float16).tiny).astype(np.float16)
    whole = np.clip(np.rint(wide / scales.astype(np.float32)), -_MOST, _MOST).astype(np.int8)
    parts = [one.reshape(len(tokens), -1).view(np.uint8) for one in (whole, np.ascontiguousarray(scales))]
    return np.concatenate(parts, axis=1)


def unpack(rows: UInt8[np.ndarray, "n p"], regions: int, width: int) -> Float16[np.ndarray, "n r w"]:
    """Tokens from their bytes; each number differs from what was packed by half of its token's scale at most."""
    whole, scales = np.split(np.ascontiguousarray(rows), [regions * width], axis=1)
    numbers = np.ascontiguousarray(whole).view(np.int8).reshape(-1, regions, width).astype(np.float32)
    factors = np.ascontiguousarray(scales).view(np.float16).reshape(-1, regions, 1).astype(np.float32)
    return (numbers * factors).astype(np.float16)
