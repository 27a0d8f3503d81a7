"""Ranks after re-ranking: the first K of one score are put in order by another, the rest stay behind them."""

from __future__ import annotations

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float64, Int64


def top(scores: Float[np.ndarray, "q m"], k: int) -> Int64[np.ndarray, "q c"]:
    """The k best items of each query, best first; equal scores in order of position. At most m."""
    return np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :k].astype(np.int64)


def reranked_scores(
    cosines: Float[np.ndarray, "q m"],
    candidates: Int64[np.ndarray, "q c"],
    scores: Float[np.ndarray, "q c"],
    beta: float,
    k: int,
) -> Float64[np.ndarray, "q m"]:
    """Numbers that order each query's first k candidates by scores + beta * cosines, the rest behind by cosine.

    `cosines` are the dual encoder's; `candidates` each query's best by them, best first; `scores` the cross-encoder's
    of these candidates.
    Raises DataError for fewer than k candidates (and fewer than there are items).
    """
    if candidates.shape[1] < min(k, cosines.shape[1]):
        raise DataError(f"found {candidates.shape[1]} candidates a query, expected at least {k}")
    first = candidates[:, :k]
    rows = np.arange(len(cosines))[:, None]
    combined = np.asarray(cosines, dtype=np.float64).copy()
    best = scores[:, :k].astype(np.float64) + beta * combined[rows, first]
    # everything else below the worst candidate
    combined += best.min(axis=1, keepdims=True) - combined.max(axis=1, keepdims=True) - 1.0
    combined[rows, first] = best
    return combined
