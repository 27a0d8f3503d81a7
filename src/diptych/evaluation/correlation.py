"""Correlation of scores with labels, where units (records) may be drawn several times, as in a bootstrap."""

from __future__ import annotations

import numpy as np

from diptych.core.shapes import Float64, Int64

Values = Float64[np.ndarray, " p"]


def pearson(x: Values, y: Values, weights: Values) -> float:
    """The linear correlation in [-1, 1] of values that count `weights` times; NaN where either does not vary."""
    total = weights.sum()
    if not total:
        return float("nan")
    x = x - weights @ x / total
    y = y - weights @ y / total
    spread = np.sqrt((weights @ (x * x)) * (weights @ (y * y)))
    return float(weights @ (x * y) / spread) if spread > 0 else float("nan")


class MidRanks:
    """The ranks of values that count several times; equal ones have the mean of their places (as Spearman's rho)."""

    def __init__(self, values: Values) -> None:
        self._order: Int64[np.ndarray, " p"] = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self._sizes = np.diff(np.r_[self._starts, len(values)])

    def __call__(self, weights: Values) -> Values:
        """The rank of each value."""
        tied = np.add.reduceat(weights[self._order], self._starts)
        middle = np.cumsum(tied) - tied + (tied + 1) / 2
        ranks = np.empty(len(self._order), dtype=np.float64)
        ranks[self._order] = np.repeat(middle, self._sizes)
        return ranks


class Correlation:
    """Pearson's correlation of two lists of values, or Spearman's (that of their ranks).

    Called with how often each value counts.
    """

    def __init__(self, x: Values, y: Values, *, by_rank: bool) -> None:
        self._x, self._y = x, y
        self._ranks = (MidRanks(x), MidRanks(y)) if by_rank else None

    def __call__(self, weights: Values) -> float:
        """The correlation; NaN where either does not vary."""
        if self._ranks is None:
            return pearson(self._x, self._y, weights)
        x, y = (ranks(weights) for ranks in self._ranks)
        return pearson(x, y, weights)
