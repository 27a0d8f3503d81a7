"""The first k of every query's ranking, block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diptych.core.shapes import Float, Int64

BLOCK_SCORES = 1 << 22  # scores held at a time: 16 MiB as float32


def inner_product(queries: Float[np.ndarray, "q d"], gallery: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "q m"]:
    """The cosine, where both sides have unit length."""
    return np.asarray(queries @ gallery.T)


def k_nearest(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "m d"],
    k: int,
    *,
    itself: Int64[np.ndarray, " q"] | None = None,
    nearness: Callable[[np.ndarray, np.ndarray], np.ndarray] = inner_product,
    block_scores: int = BLOCK_SCORES,
) -> tuple[Int64[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """Places of the k best items and their scores by `nearness`, best first; equal scores in gallery order.

    `itself[i]` is query i's own place, left out of its ranking. k is cut to what there is.
    """
    k = max(0, min(k, len(gallery) - (itself is not None)))
    places = np.empty((len(queries), k), dtype=np.int64)
    found = np.empty((len(queries), k), dtype=np.result_type(queries, gallery))
    rows = max(1, block_scores // max(1, len(gallery)))
    for start in range(0, len(queries) if k else 0, rows):
        scores = nearness(queries[start : start + rows], gallery)
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
