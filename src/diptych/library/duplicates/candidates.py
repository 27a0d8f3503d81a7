"""Pairs that may be copies of one image, found in less time than comparing all pairs takes.

Two ways find them: perceptual hashes of images put into one of eight positions (copies mirrored, turned, resized or
encoded again), and vectors that are near (crops). Colours then rule out most: what a crop leaves out is a bounded
share of an image, so the shares of its dark and bright pixels change by no more than that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.shapes import Float, Float32, Int64, UInt8
from diptych.data.images import near_pairs, oriented_hashes
from diptych.data.images.same_image import MOST_CUT

RADIUS = 8  # bits
NEIGHBOURS = 8  # of each vector
_CELLS_OF_EACH = 3  # nearest cells that a vector is in: near vectors share one even at a border
_ROUNDS = 3  # of k-means
_SAMPLE = 32  # vectors per cell that the cells are fitted on
_BLOCK = 1 << 22  # similarities at once: 16 MB
_LEVELS = 16  # grey levels between two points of a colour curve
_GREY = 8  # levels by which red, green and blue differ at most, in every pixel of a grey image
_ENCODING = 0.08  # by how much a curve changes by encoding and resizing alone

Pairs = tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]  # places (i, j), i < j


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of an image's pixels: its hashes, its colours, and whether it is grey."""

    hashes: tuple[int, ...]
    colours: Float32[np.ndarray, c]
    grey: bool

    @classmethod
    def of(cls, pixels: UInt8[np.ndarray, "h w 3"]) -> Look:
        """The look of an image."""
        return cls(tuple(oriented_hashes(pixels)), _colours(pixels), int(np.ptp(pixels, axis=2).max()) <= _GREY)


def _colours(pixels: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, c]:
    """For red, green and blue the share of pixels darker than 15 levels; each level is blurred by its neighbours."""
    curves = []
    for channel in pixels.reshape(-1, 3).T:
        below = np.cumsum(np.bincount(channel, minlength=256)) / len(channel)
        blurred = np.cumsum(below)[_LEVELS - 1 :: _LEVELS] / _LEVELS
        means = np.diff(blurred, prepend=0.0)  # of 16 levels each
        curves.append((means[1:] + means[:-1]) / 2)
    return np.concatenate(curves).astype(np.float32)


def candidates(looks: list[Look], vectors: Float[np.ndarray, "n d"]) -> Pairs:
    """Pairs of places whose hashes or vectors are near and whose colours may be of one image, in order, each once."""
    owners = np.array([place for place, look in enumerate(looks) for _ in look.hashes], dtype=np.int64)
    hashes = np.array([one for look in looks for one in look.hashes], dtype=np.uint64)
    colours = np.stack([look.colours for look in looks]) if looks else np.empty((0, 45), dtype=np.float32)
    kept: list[Int64[np.ndarray, m]] = []
    by_hash = ((owners[left], owners[right]) for left, right in near_pairs(hashes, RADIUS))
    for blocks in (by_hash, near_vectors(vectors, NEIGHBOURS)):
        for left, right in blocks:
            alike = (left != right) & (np.abs(colours[left] - colours[right]).max(axis=1) <= MOST_CUT + _ENCODING)
            low, high = np.minimum(left, right)[alike], np.maximum(left, right)[alike]
            kept.append(np.unique(low * len(looks) + high))
    codes = np.unique(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)
    return codes // max(len(looks), 1), codes % max(len(looks), 1)


def near_vectors(vectors: Float[np.ndarray, "n d"], count: int) -> Iterator[Pairs]:
    """Blocks of pairs of which one is among the `count` nearest of the other; a pair may come more than once.

    The vectors are cut into about as many cells as a cell has members, so that the time grows with n ** 1.5. A vector
    is compared with those that share one of its cells: a pair of near vectors is missed where they share none.
    """
    for members in _cells(vectors):
        found = np.asarray(vectors[members], dtype=np.float32)
        most = min(count, len(members) - 1)
        rows = max(1, _BLOCK // max(len(members), 1))
        for start in range(0, len(members) if most else 0, rows):
            cosines = found[start : start + rows] @ found.T
            own = np.arange(len(cosines))
            cosines[own, start + own] = -np.inf
            nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
            yield np.repeat(members[start : start + rows], most), members[nearest.ravel()]


def _cells(vectors: Float[np.ndarray, "n d"]) -> Iterator[Int64[np.ndarray, k]]:
    """The members of each cell. The cells are those of k-means of a sample, always the same for the same vectors."""
    count = round(np.sqrt(len(vectors) / _CELLS_OF_EACH))
    if len(vectors) <= _BLOCK**0.5:
        yield np.arange(len(vectors))
        return
    chance = np.random.default_rng(0)
    chosen = np.sort(chance.permutation(len(vectors))[: count * _SAMPLE])
    sample = np.asarray(vectors[chosen], dtype=np.float32)
    middle = sample.mean(axis=0)  # vectors of a dual encoder lie in a narrow cone
    sample = normalise(sample - middle)
    centres = sample[:count]
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        centres = normalise(np.where(sums.any(axis=1, keepdims=True), sums, centres))
    own = np.empty((len(vectors), _CELLS_OF_EACH), dtype=np.int32)
    rows = max(1, _BLOCK // count)
    for start in range(0, len(vectors), rows):
        block = normalise(np.asarray(vectors[start : start + rows], dtype=np.float32) - middle)
        own[start : start + rows] = np.argpartition(-(block @ centres.T), _CELLS_OF_EACH, axis=1)[:, :_CELLS_OF_EACH]
    order = np.argsort(own.ravel(), kind="stable")
    starts = np.searchsorted(own.ravel()[order], np.arange(count + 1))
    for start, stop in itertools.pairwise(starts.tolist()):
        yield order[start:stop] // _CELLS_OF_EACH
