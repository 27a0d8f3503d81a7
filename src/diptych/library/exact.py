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


def nearest(
    vectors: Float32[np.ndarray, "n d"],
    query: Float32[np.ndarray, d],
    k: int,
    rows: Int64[np.ndarray, c] | None = None,
) -> tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]]:
    """Rows of the k highest cosines and those cosines, best first; a tie goes to the lower row.

    `vectors` and `query` are L2-normalised. With `rows`, only those rows take part. Fewer than k
    come back when there are fewer.
    """
    total = len(vectors) if rows is None else len(rows)
    scores = np.empty(total, dtype=np.float32)
    for start in range(0, total, BLOCK):
        stop = min(start + BLOCK, total)
        block = vectors[start:stop] if rows is None else vectors[rows[start:stop]]
        np.dot(block, query, out=scores[start:stop])
    if k < total:
        threshold = np.partition(scores, total - k)[total - k]
        places = np.flatnonzero(scores >= threshold - _SLACK)
    else:
        places = np.arange(total)
    candidates = places if rows is None else rows[places]
    return settle(vectors, query, candidates.astype(np.int64), k)


def _cosines(vectors: Float32[np.ndarray, "n d"], queries: Float32[np.ndarray, "q d"]) -> Float32[np.ndarray, "q n"]:
    """All cosines, a few rows at a time: a product of all of them copies every vector first."""
    scores = np.empty((len(queries), len(vectors)), dtype=np.float32)
    for start in range(0, len(vectors), _CACHED_ROWS):
        stop = start + _CACHED_ROWS
        scores[:, start:stop] = (vectors[start:stop] @ queries.T).T
    return scores


def nearest_many(
    vectors: Float32[np.ndarray, "n d"], queries: Float32[np.ndarray, "q d"], counts: Sequence[int]
) -> list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]]]:
    """As `nearest` for several queries, each with its own k, reading the vectors once for all of them."""
    total = len(vectors)
    found = []
    for row, query, k in zip(_cosines(vectors, queries), queries, counts, strict=True):
        places = np.arange(total)
        if k < total:
            threshold = np.partition(row, total - k)[total - k]
            places = np.flatnonzero(row >= threshold - _SLACK)
        found.append(settle(vectors, query, places.astype(np.int64), k))
    return found
