"""The first k of every query's ranking, block by block."""

from __future__ import annotations

import numpy as np

from diptych.core.shapes import Float32, Int64

BLOCK_SCORES = 1 << 22  # scores held at a time: 16 MiB as float32


def nearest(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "m d"],
    k: int,
    *,
    itself: Int64[np.ndarray, " q"] | None = None,
    block_scores: int = BLOCK_SCORES,
) -> tuple[Int64[np.ndarray, "q k"], Float32[np.ndarray, "q k"]]:
    """Places and inner products of the k best items, best first; equal scores in gallery order.

    `itself[i]` is query i's own place, left out of its ranking. k is cut to what there is.
    """
    k = max(0, min(k, len(gallery) - (itself is not None)))
    places = np.empty((len(queries), k), dtype=np.int64)
    found = np.empty((len(queries), k), dtype=np.float32)
    rows = max(1, block_scores // max(1, len(gallery)))
    for start in range(0, len(queries) if k else 0, rows):
        scores = queries[start : start + rows] @ gallery.T
        if itself is not None:
            scores[np.arange(len(scores)), itself[start : start + rows]] = -np.inf
        # All that reach the k-th best score, so that ties at the cut are settled by place as well.
        bar = np.partition(scores, -k, axis=1)[:, -k]
        for row, reached in enumerate(scores >= bar[:, None]):
            candidates = np.flatnonzero(reached)
            order = np.argsort(-scores[row, candidates], kind="stable")[:k]
            places[start + row] = candidates[order]
            found[start + row] = scores[row, candidates[order]]
    return places, found
