"""All pairs of 64-bit hashes within a few bits of each other, without comparing all with all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Int64, UInt8, UInt64

BITS = 64
MAX_RADIUS = 15  # bits; more would join unrelated images
_CELLS = 1 << 21  # hash comparisons at once: some 40 MB
_POPCOUNT = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)


def near_pairs(
    hashes: UInt64[np.ndarray, n], radius: int
) -> Iterator[tuple[Int64[np.ndarray, m], Int64[np.ndarray, m]]]:
    """Blocks of index pairs (i, j), i < j, whose hashes differ in at most `radius` bits; a pair may come twice.

    Cut into radius + 1 bands, two such hashes agree on at least one band, so only hashes that share
    a band are compared: for 100,000 spread-out hashes and radius 4 about 1 in 800 of all pairs.
    Raises ConfigError for a radius outside 0..MAX_RADIUS.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ConfigError(f"the radius of near duplicates must be 0 to {MAX_RADIUS} bits, found {radius}")
    width = BITS // (radius + 1)
    for band in range(radius + 1):
        values = (hashes >> np.uint64(band * width)) & np.uint64((1 << width) - 1)
        order = np.argsort(values, kind="stable")
        sorted_values = values[order]
        starts = np.flatnonzero(sorted_values[1:] != sorted_values[:-1]) + 1
        for members in np.split(order, starts):
            if len(members) > 1:
                yield from _within(hashes, members, radius)


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
