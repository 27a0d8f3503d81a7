"""Ranks after re-ranking: the first K of one score are put in order by another, the rest stay behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float32, Float64, Int64


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


@dataclass(frozen=True)
class Rescoring:
    """Each query's best k by the cosine are put in order by another score of the pair plus beta times the cosine.

    `score` takes the places of queries and of items, pair by pair, and gives the pairs' scores.
    """

    score: Callable[[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]], Float32[np.ndarray, " p"]]
    beta: float
    k: int

    def of(
        self, queries: Int64[np.ndarray, " q"], items: Int64[np.ndarray, " m"]
    ) -> Callable[[int, Float32[np.ndarray, "b m"]], Float64[np.ndarray, "b m"]]:
        """What `ranks_from_embeddings` takes as `rescore`, for these queries and items by their places."""

        def rescore(start: int, cosines: Float32[np.ndarray, "b m"]) -> Float64[np.ndarray, "b m"]:
            return self.rescored(cosines, queries[start : start + len(cosines)], items)

        return rescore

    def turned(self) -> Rescoring:
        """The same where items ask for queries."""
        return replace(self, score=lambda queries, items: self.score(items, queries))

    def rescored(
        self, cosines: Float[np.ndarray, "q m"], queries: Int64[np.ndarray, " q"], items: Int64[np.ndarray, " m"]
    ) -> Float64[np.ndarray, "q m"]:
        """Numbers that order the items as re-ranked; `queries` and `items` are the places that `score` takes.

        An item whose cosine is minus infinity (the query itself) is no candidate.
        """
        candidates = top(cosines, self.k)
        is_item = np.isfinite(np.take_along_axis(cosines, candidates, axis=1))
        scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
        rows = np.nonzero(is_item)[0]
        scores[is_item] = self.score(queries[rows], items[candidates[is_item]])
        lowest = np.min(np.where(is_item, scores, np.inf), axis=1, keepdims=True)
        scores = np.where(is_item, scores, lowest - 1)
        least = np.min(np.where(np.isfinite(cosines), cosines, np.inf), axis=1, keepdims=True)
        finite = np.where(np.isfinite(cosines), cosines, least - 1)
        return reranked_scores(finite, candidates, scores, self.beta, self.k)
