"""Precision and recall of generated sets by nearest neighbours (Kynkäänniemi et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Bool, Float, Float64

from .checks import features_of, same_width
from .neighbours import squared_distances

_BLOCK = 1 << 22  # distances held at a time: 32 MiB


@dataclass(frozen=True)
class Coverage:
    """`realistic[j]`: generated picture j lies among the real ones; `covered[i]`: real picture i among the generated.

    Precision and recall are their means: how much of what is made looks real, how much of what is real is made.
    """

    realistic: Bool[np.ndarray, " m"]
    covered: Bool[np.ndarray, " n"]

    @property
    def precision(self) -> float:
        """Share of the generated pictures that look real."""
        return float(self.realistic.mean())

    @property
    def recall(self) -> float:
        """Share of the real pictures that the generator could have made."""
        return float(self.covered.mean())


def precision_recall(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], k: int = 3) -> Coverage:
    """A picture lies among a set when it is inside (or on the rim of) the ball of any of the set's pictures.

    A ball reaches to its centre's k-th nearest other picture of the set. Identical sets give 1 and 1.

    Raises DataError for too few pictures, other widths and numbers that are not finite.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1 neighbour, found {k}")
    same_width(real, generated)
    one, two = features_of(real, "real pictures", k + 1), features_of(generated, "generated pictures", k + 1)
    return Coverage(_inside(two, one, _radii(one, k)), _inside(one, two, _radii(two, k)))


def _radii(points: Float64[np.ndarray, "n d"], k: int) -> Float64[np.ndarray, " n"]:
    """Squared distance of each point to its k-th nearest other."""
    radii = np.empty(len(points))
    rows = max(1, _BLOCK // len(points))
    for start in range(0, len(points), rows):
        distances = squared_distances(points[start : start + rows], points)
        distances[np.arange(len(distances)), np.arange(start, start + len(distances))] = np.inf
        radii[start : start + rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii


def _inside(
    points: Float64[np.ndarray, "m d"], centres: Float64[np.ndarray, "n d"], radii: Float64[np.ndarray, " n"]
) -> Bool[np.ndarray, " m"]:
    found = np.empty(len(points), dtype=np.bool_)
    rows = max(1, _BLOCK // len(centres))
    for start in range(0, len(points), rows):
        distances = squared_distances(points[start : start + rows], centres)
        found[start : start + rows] = (distances <= radii).any(axis=1)
    return found
