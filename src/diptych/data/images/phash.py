"""A 64-bit perceptual hash: near images get hashes that differ in few bits."""

from __future__ import annotations

import functools

import numpy as np
import PIL.Image

from diptych.core.shapes import Float64, UInt8

_SIDE = 32  # pixels of the grey image that is transformed
_KEPT = 8  # lowest frequencies kept in each direction: 8 x 8 = 64 bits
_QUANTUM = 1e-3  # grey levels; below it a coefficient is rounding noise (a flat image has nothing else)


def perceptual_hash(pixels: UInt8[np.ndarray, "h w 3"]) -> int:
    """The DCT hash ("pHash"): bits say which of the 64 lowest frequencies are above their median.

    The image is made grey and 32 x 32 (aspect ignored); bit 63 is the mean brightness, which is above the
    median for almost every image. The same image rescaled or encoded again differs by a few bits (6 or
    fewer is a good rule), unrelated ones by about 32. Flat images all look alike to it. 0 <= hash < 2**64.
    """
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((_SIDE, _SIDE), PIL.Image.Resampling.BILINEAR, reducing_gap=3.0).convert("L")
    basis = _cosines()
    frequencies = basis @ np.asarray(small, dtype=np.float64) @ basis.T
    frequencies = np.rint(frequencies / _QUANTUM)
    bits = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")


def hamming(left: int, right: int) -> int:
    """How many of the 64 bits differ."""
    return (left ^ right).bit_count()


@functools.cache
def _cosines() -> Float64[np.ndarray, "8 32"]:
    """The first rows of the orthonormal DCT-II matrix."""
    frequency = np.arange(_KEPT)[:, np.newaxis]
    position = np.arange(_SIDE)[np.newaxis, :]
    rows = np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, dtype=np.float64)
