"""Perceptual hashes in one of eight positions, and the search for near ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import PIL.Image
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.data.images import hamming, near_pairs, oriented_hashes
from diptych.data.images.phash import popcount


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**64 - 1), min_size=0, max_size=12),
    flips=st.lists(st.lists(st.integers(0, 63), max_size=9), max_size=12),
    radius=st.integers(0, 15),
)
def test_near_pairs_are_those_of_the_obvious_loop(seeds, flips, radius):
    values = list(seeds)
    for seed, bits in zip(seeds, flips, strict=False):
        for bit in bits:
            seed ^= 1 << bit
        values.append(seed)
    obvious = {
        (left, right)
        for left, right in combinations(range(len(values)), 2)
        if (values[left] ^ values[right]).bit_count() <= radius
    }
    found = set()
    for left, right in near_pairs(np.array(values, dtype=np.uint64), radius):
        found |= set(zip(left.tolist(), right.tolist(), strict=True))
    assert found == obvious


def test_popcount():
    values = np.array([0, 1, 3, 2**64 - 1, 2**63], dtype=np.uint64)
    assert popcount(values).tolist() == [0, 1, 2, 64, 1]


def test_a_hundred_thousand_hashes_take_seconds():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[-1] = hashes[0] ^ np.uint64(0b1011)
    pairs = [(left.tolist(), right.tolist()) for left, right in near_pairs(hashes, 4)]
    assert {(0, 99_999)} == {pair for left, right in pairs for pair in zip(left, right, strict=True)}


def test_an_image_mirrored_or_turned_shares_a_hash_with_itself():
    noise = PIL.Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(noise.resize((64, 64), PIL.Image.Resampling.BICUBIC))
    hashes = oriented_hashes(pixels)
    assert 1 <= len(hashes) <= 8
    for turns in range(4):
        turned = np.rot90(pixels, turns)
        for placed in (turned, turned[:, ::-1]):
            assert min(hamming(one, other) for one in hashes for other in oriented_hashes(placed)) <= 2
