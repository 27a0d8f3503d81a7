"""Nearest neighbours among features: copies of training images, and precision and recall of a generated set.

Precision and recall are those of Kynkäänniemi et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Bool, Float, Float64, Int64

from ..nearest import k_nearest
from .distances import checked_features, same_width

_BLOCK = 1 << 22  # distances held at a time: 32 MiB


@dataclass(frozen=True)
class Neighbours:
    """For each query the places of its nearest in the other set, nearest first, and how far they are."""

    places: Int64[np.ndarray, "q k"]
    distances: Float64[np.ndarray, "q k"]


def nearest_by_distance(queries: Float[np.ndarray, "q d"], others: Float[np.ndarray, "n d"], k: int = 1) -> Neighbours:
    """The k nearest; equal distances in the order of the set. k is cut to what there is.

    Raises DataError for an empty set, other widths and numbers that are not finite.
    """
    same_width(queries, others)
    if not len(others):
        raise DataError("no images to compare with; expected one or more")
    one, two = checked_features(queries, "generated images", 0), checked_features(others, "real images", 1)
    places, found = k_nearest(one, two, max(1, k), nearness=_nearness, block_scores=_BLOCK)
    return Neighbours(places, np.sqrt(-found))


def _nearness(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    return -squared_distances(x, y)


def squared_distances(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """|x - y|^2, never below 0, and exactly 0 between rows that are equal to within double precision."""
    squares_x, squares_y = (x * x).sum(axis=1)[:, None], (y * y).sum(axis=1)[None, :]
    found = squares_x + squares_y - 2 * (x @ y.T)
    found[found <= 1e-12 * (squares_x + squares_y)] = 0.0
    return np.asarray(found)


@dataclass(frozen=True)
class Coverage:
    """`realistic[j]`: generated image j lies among the real ones; `covered[i]`: real image i among the generated.

    Precision and recall are their means: how much of what is made looks real, how much of what is real is made.
    """

    realistic: Bool[np.ndarray, " m"]
    covered: Bool[np.ndarray, " n"]

    @property
    def precision(self) -> float:
        """Share of the generated images that look real."""
        return float(self.realistic.mean())

    @property
    def recall(self) -> float:
        """Share of the real images that the generator could have made."""
        return float(self.covered.mean())


def precision_recall(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], k: int = 3) -> Coverage:
    """An image lies among a set when it is inside (or on the rim of) the ball of any of the set's images.

    A ball reaches to its centre's k-th nearest other image of the set. Identical sets give 1 and 1.

    Raises DataError for too few images, other widths and numbers that are not finite.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1 neighbour, found {k}")
    same_width(real, generated)
    one, two = checked_features(real, "real images", k + 1), checked_features(generated, "generated images", k + 1)
    return Coverage(_inside(two, one, _radii(one, k)), _inside(one, two, _radii(two, k)))


def _radii(points: Float64[np.ndarray, "n d"], k: int) -> Float64[np.ndarray, " n"]:
    """Squared distance of each point to its k-th nearest other."""
    itself = np.arange(len(points))
    found = k_nearest(points, points, k, itself=itself, nearness=_nearness, block_scores=_BLOCK)[1]
    return np.asarray(-found[:, -1])


def _inside(
    points: Float64[np.ndarray, "m d"], centres: Float64[np.ndarray, "n d"], radii: Float64[np.ndarray, " n"]
) -> Bool[np.ndarray, " m"]:
    found = np.empty(len(points), dtype=np.bool_)
    rows = max(1, _BLOCK // len(centres))
    for start in range(0, len(points), rows):
        distances = squared_distances(points[start : start + rows], centres)
        found[start : start + rows] = (distances <= radii).any(axis=1)
    return found
