"""The nearest of one set to each of another, by Euclidean distance: did the generator learn its data by heart?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float64, Int64

from .checks import features_of, same_width

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
        raise DataError("there is nothing to be near to")
    one, two = features_of(queries, "generated pictures", 0), features_of(others, "real pictures", 1)
    k = max(1, min(k, len(two)))
    places = np.empty((len(one), k), dtype=np.int64)
    found = np.empty((len(one), k))
    rows = max(1, _BLOCK // len(two))
    for start in range(0, len(one), rows):
        distances = squared_distances(one[start : start + rows], two)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        places[start : start + rows] = order
        found[start : start + rows] = np.sqrt(np.take_along_axis(distances, order, axis=1))
    return Neighbours(places, found)


def squared_distances(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """|x - y|^2, never below 0, and exactly 0 between rows that are equal to within double precision."""
    squares_x, squares_y = (x * x).sum(axis=1)[:, None], (y * y).sum(axis=1)[None, :]
    found = squares_x + squares_y - 2 * (x @ y.T)
    found[found <= 1e-12 * (squares_x + squares_y)] = 0.0
    return np.asarray(found)
