"""A 64-bit perceptual hash: near images get hashes that differ in few bits; `near_pairs` finds those."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float64, Int64, UInt8, UInt64

_SIDE = 32  # pixels of the grey image that is transformed
_KEPT = 8  # lowest frequencies kept in each direction: 8 x 8 = 64 bits
_QUANTUM = 1e-3  # grey levels; below it a coefficient is rounding noise (a flat image has nothing else)
_UNSURE = 0.1  # of the larger of two coefficients: nearer to 0, or to each other, they may have changed their order
BITS = 64
MAX_RADIUS = 15  # bits; more would join unrelated images
_CELLS = 1 << 21  # hash comparisons at once: some 40 MB
_POPCOUNT = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)


def perceptual_hash(pixels: UInt8[np.ndarray, "h w 3"]) -> int:
    """The DCT hash ("pHash"): bits say which of the 64 lowest frequencies are above their median.

    The image is made grey and 32 x 32 (aspect ignored); bit 63 is the mean brightness, which is above the
    median for almost every image. The same image rescaled or encoded again differs by a few bits (6 or
    fewer is a good rule), unrelated ones by about 32. Flat images all look alike to it. 0 <= hash < 2**64.
    """
    return _bits(_frequencies(pixels))


def oriented_hashes(pixels: UInt8[np.ndarray, "h w 3"]) -> list[int]:
    """Perceptual hashes of the image as it is mirrored and turned into one chosen position; equal for all eight.

    The position is the one in which the lowest horizontal and vertical frequency are positive, and the horizontal one
    is the larger. Where a small change could choose another position, the hash in that one is given too: 1 to 8.
    """
    frequencies = _frequencies(pixels)
    across, down = float(frequencies[0, 1]), float(frequencies[1, 0])
    unsure = _UNSURE * max(abs(across), abs(down))
    signs = np.where(np.arange(_KEPT) % 2, -1.0, 1.0)
    hashes = []
    for mirrored in _answers(across < 0, sure=abs(across) > unsure):
        for upended in _answers(down < 0, sure=abs(down) > unsure):
            placed = frequencies * (signs if mirrored else 1.0)
            placed = placed * (signs[:, np.newaxis] if upended else 1.0)
            for turned in _answers(abs(down) > abs(across), sure=abs(abs(down) - abs(across)) > unsure):
                hashes.append(_bits(placed.T if turned else placed))
    return list(dict.fromkeys(hashes))


def _answers(answer: bool, *, sure: bool) -> list[bool]:
    return [answer] if sure else [False, True]


def _frequencies(pixels: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "8 8"]:
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    small = image.resize((_SIDE, _SIDE), PIL.Image.Resampling.BILINEAR, reducing_gap=3.0).convert("L")
    basis = _cosines()
    return np.asarray(np.rint(basis @ np.asarray(small, dtype=np.float64) @ basis.T / _QUANTUM))


def _bits(frequencies: Float64[np.ndarray, "8 8"]) -> int:
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


def near_pairs(
    hashes: UInt64[np.ndarray, n], radius: int
) -> Iterator[tuple[Int64[np.ndarray, m], Int64[np.ndarray, m]]]:
    """Blocks of index pairs (i, j), i < j, whose hashes differ in at most `radius` bits; a pair may come twice.

    Cut into radius + 2 bands, two such hashes agree on at least two bands, so only hashes that share two bands are
    compared: for 100,000 spread-out hashes and radius 4 about 1 in 70,000 of all pairs. Where the bands are too narrow
    for that, radius + 1 bands and one equal band are used.
    Raises ConfigError for a radius outside 0..MAX_RADIUS.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ConfigError(f"the radius of near duplicates must be 0 to {MAX_RADIUS} bits, found {radius}")
    equal = min((1, 2), key=lambda count: math.comb(radius + count, count) / 2 ** (count * (BITS // (radius + count))))
    width = BITS // (radius + equal)
    for bands in itertools.combinations(range(radius + equal), equal):
        for members in _buckets(hashes, bands, width):
            yield from _within(hashes, members, radius)


def _buckets(hashes: UInt64[np.ndarray, n], bands: Sequence[int], width: int) -> Iterator[Int64[np.ndarray, k]]:
    """Places of the hashes that are equal in these bands, in rising order; those that equal no other are left out."""
    values = hashes & np.uint64(sum(((1 << width) - 1) << (band * width) for band in bands))
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(order) else order
    sizes = np.diff(np.append(starts, len(order)))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        yield order[start : start + size]


def _within(
    hashes: UInt64[np.ndarray, n], members: Int64[np.ndarray, k], radius: int
) -> Iterator[tuple[Int64[np.ndarray, m], Int64[np.ndarray, m]]]:
    """Near pairs among the members of one bucket, block by block; members are in rising order."""
    found = hashes[members]
    rows = max(1, _CELLS // len(members))
    for start in range(0, len(members), rows):
        block = found[start : start + rows, None] ^ found[None, start:]
        left, right = np.nonzero(popcount(block) <= radius)
        later = left < right
        if later.any():
            yield members[start:][left[later]], members[start:][right[later]]


def popcount(values: UInt64[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Number of set bits of each value."""
    quarters = np.ascontiguousarray(values)[..., None].view(np.uint16)
    return np.asarray(_POPCOUNT[quarters].sum(axis=-1, dtype=np.uint8))
