"""The exact nearest neighbours, in an order that does not depend on how the work was cut up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.shapes import Float32, Float64, Int64

BLOCK = 65_536  # rows scored at once: bounds memory, keeps the matrix product efficient
_CACHED_ROWS = 1_024  # rows that stay in the processor's cache while several queries are compared with them
# Blocked float32 products differ by rounding from one place to another; whatever comes this near
# to the k-th score is scored again, row by row in float64, before the order is settled.
_SLACK = 1e-5
NONE: Int64[np.ndarray, h] = np.empty(0, dtype=np.int64)


def rescore(
    vectors: Float32[np.ndarray, "n d"], query: Float32[np.ndarray, d], rows: Int64[np.ndarray, c]
) -> Float64[np.ndarray, c]:
    """Cosines of some rows in float64, each computed the same way wherever its row stands."""
    exact_query = query.astype(np.float64)
    scores = np.empty(len(rows), dtype=np.float64)
    for start in range(0, len(rows), BLOCK):
        block = vectors[rows[start : start + BLOCK]].astype(np.float64)
        scores[start : start + BLOCK] = (block * exact_query).sum(axis=1)
    return scores


def settle(
    vectors: Float32[np.ndarray, "n d"], query: Float32[np.ndarray, d], rows: Int64[np.ndarray, c], k: int
) -> tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]]:
    """The best k of some candidate rows: higher score first, a tie goes to the lower row."""
    scores = rescore(vectors, query, rows)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def top_k(
    vectors: Float32[np.ndarray, "n d"],
    queries: Float32[np.ndarray, "q d"],
    counts: Sequence[int],
    rows: Int64[np.ndarray, c] | None = None,
    hidden: Int64[np.ndarray, h] = NONE,
) -> list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]]]:
    """For each query the rows of its k highest cosines and those cosines, best first; a tie goes to the lower row.

    `vectors` and `queries` are L2-normalised; the vectors are read once for all queries. With `rows`, only those rows
    take part; none that is `hidden` does. Fewer than k come back when there are fewer.
    """
    rows = rows if rows is None else without(rows, hidden)
    many = _cosines(vectors, queries, rows)
    return [
        _best(vectors, query, scores, k, rows, hidden) for scores, query, k in zip(many, queries, counts, strict=True)
    ]


def without(rows: Int64[np.ndarray, c], hidden: Int64[np.ndarray, h]) -> Int64[np.ndarray, e]:
    """The rows that are not hidden, in order."""
    return np.setdiff1d(rows, hidden) if len(hidden) else rows


def _cosines(
    vectors: Float32[np.ndarray, "n d"], queries: Float32[np.ndarray, "q d"], rows: Int64[np.ndarray, c] | None
) -> Float32[np.ndarray, "q m"]:
    """All cosines, block by block: a product of several queries with all vectors copies every vector first."""
    total = len(vectors) if rows is None else len(rows)
    scores = np.empty((len(queries), total), dtype=np.float32)
    step = BLOCK if len(queries) == 1 else _CACHED_ROWS
    for start in range(0, total, step):
        stop = min(start + step, total)
        block = vectors[start:stop] if rows is None else vectors[rows[start:stop]]
        if len(queries) == 1:
            np.dot(block, queries[0], out=scores[0, start:stop])
        else:
            scores[:, start:stop] = (block @ queries.T).T
    return scores


def _best(
    vectors: Float32[np.ndarray, "n d"],
    query: Float32[np.ndarray, d],
    scores: Float32[np.ndarray, m],
    k: int,
    rows: Int64[np.ndarray, c] | None,
    hidden: Int64[np.ndarray, h],
) -> tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]]:
    """The best k by the scores of some rows, or of all that are not hidden, which this overwrites."""
    shown = len(scores)
    if rows is None and len(hidden):
        scores[hidden] = -np.inf
        shown -= len(hidden)
    if k < shown:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= threshold - _SLACK)
    else:
        places = np.flatnonzero(scores > -np.inf)
    candidates = places if rows is None else rows[places]
    return settle(vectors, query, candidates.astype(np.int64), k)
