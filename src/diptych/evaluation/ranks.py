"""Exact ranks of the relevant items, in bounded memory.

Only a block of queries is scored at a time, so memory is `block_scores` floats however many
queries there are. The tie rule is the same everywhere: an item that is not relevant and has the
same score as a relevant one ranks before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, Float, Float32, Float64, Int64
from diptych.core.similarity import Similarity

from .positives import Positives

Rescore = Callable[[int, Float32[np.ndarray, "b m"]], Float[np.ndarray, "b m"]]
BLOCK_SCORES = 1 << 23  # scores held at a time: 32 MiB as float32
FEW_POSITIVES = 16  # up to here, comparing once for each positive beats sorting the gallery


@dataclass(frozen=True)
class Ranks:
    """Where the relevant items of each query landed.

    Query i's ranks are `ranks[offsets[i]:offsets[i + 1]]`, ascending, 0 for the first place, and
    `gains` are those items' gains. `gallery` is the number of items that were ranked. Items with a gain below
    `relevant_from` count for graded metrics only; each query has one that is not below.
    """

    offsets: Int64[np.ndarray, " bounds"]
    ranks: Int64[np.ndarray, " p"]
    gains: Float64[np.ndarray, " p"]
    gallery: int
    relevant_from: float = 0.0

    @cached_property
    def relevant(self) -> Ranks:
        """The ranks of the items whose gain is enough; their places stay those among all items."""
        kept = self.gains >= self.relevant_from
        if kept.all():
            return self
        before = np.concatenate(([0], np.cumsum(kept)))
        return Ranks(before[self.offsets].astype(np.int64), self.ranks[kept], self.gains[kept], self.gallery)

    @property
    def best(self) -> Int64[np.ndarray, " q"]:
        """Rank of each query's best relevant item; 0 is first."""
        best: Int64[np.ndarray, " q"] = self.ranks[self.offsets[:-1]]
        return best

    @property
    def counts(self) -> Int64[np.ndarray, " q"]:
        """Relevant items of each query."""
        return np.diff(self.offsets)

    @property
    def query_of(self) -> Int64[np.ndarray, " p"]:
        """The query that each entry of `ranks` belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)


def ranks_from_embeddings(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "m d"],
    positives: Positives,
    *,
    itself: Int64[np.ndarray, " q"] | None = None,
    similarity: Similarity | None = None,
    rescore: Rescore | None = None,
    block_scores: int = BLOCK_SCORES,
    progress: Progress = SILENT,
    label: str = "ranking",
) -> Ranks:
    """Ranks by inner product (cosine, when both sides are L2-normalised), or by `similarity` of queries and items.

    Where the queries are items of the gallery, `itself` says which: a query is left out of its own
    ranking, so its gallery is one item smaller. It must not be among its own positives. `rescore` may put each block
    of scores into another order; it is told the place of the block's first query.

    Gallery rows with the same numbers get the same score to the last bit, so duplicates are ties
    whatever the matrix product's rounding does. Beyond the inputs, memory is a small multiple of
    `block_scores`, or of one row of m scores if that is more.

    Raises DataError for shapes that do not fit, numbers that are not finite, and queries without
    a relevant item.
    """
    queries, gallery = (np.asarray(side, dtype=np.float32) for side in (queries, gallery))
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise DataError(
            f"queries have shape {queries.shape} and the gallery {gallery.shape}; "
            "expected two matrices with the same number of columns"
        )
    _check_fit(positives, len(queries), len(gallery))
    _check_finite(queries, "query")
    _check_finite(gallery, "gallery item")
    if itself is not None:
        _check_itself(itself, positives)
    rows = max(1, block_scores // len(gallery))
    copies, originals = _duplicates(gallery)
    buffer = np.empty((min(rows, len(queries)), len(gallery)), dtype=np.float32)

    def blocks() -> Iterator[tuple[int, Float32[np.ndarray, "b m"]]]:
        starts = range(0, len(queries), rows)
        for start in progress.track(starts, label, len(starts)):
            block = queries[start : start + rows]
            scores = buffer[: len(block)]
            if similarity is None:
                np.matmul(block, gallery.T, out=scores)
            else:
                scores[:] = similarity(block, gallery)
            # Rounding may depend on the column, so a copy takes its original's score.
            scores[:, copies] = scores[:, originals]
            if itself is not None:
                scores[np.arange(len(block)), itself[start : start + rows]] = -np.inf
            yield start, scores if rescore is None else rescore(start, scores)

    found = _collect(blocks(), positives)
    return found if itself is None else replace(found, gallery=len(gallery) - 1)


def ranks_from_scores(
    scores: Float[np.ndarray, "q m"], positives: Positives, *, block_scores: int = BLOCK_SCORES
) -> Ranks:
    """Ranks from scores that are already there (a re-ranker's, a test's); higher is better.

    Raises DataError for a shape that does not fit, for NaN, and for queries without a relevant item.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise DataError(f"scores have shape {scores.shape}; expected one row a query, one column an item")
    _check_fit(positives, *scores.shape)
    rows = max(1, block_scores // scores.shape[1])
    return _collect(((start, scores[start : start + rows]) for start in range(0, len(scores), rows)), positives)


def _collect(blocks: Iterator[tuple[int, Float[np.ndarray, "b m"]]], positives: Positives) -> Ranks:
    ranks = np.empty(len(positives.items), dtype=np.int64)
    gains = np.empty(len(positives.items), dtype=np.float64)
    for start, scores in blocks:
        stop = start + len(scores)
        span = slice(int(positives.offsets[start]), int(positives.offsets[stop]))
        ranks[span], gains[span] = _rank_block(
            scores, positives.counts[start:stop], positives.items[span], positives.gains[span]
        )
    return Ranks(positives.offsets, ranks, gains, positives.gallery)


def _rank_block(
    scores: Float[np.ndarray, "b m"],
    counts: Int64[np.ndarray, " b"],
    items: Int64[np.ndarray, " p"],
    gains: Float64[np.ndarray, " p"],
) -> tuple[Int64[np.ndarray, " p"], Float64[np.ndarray, " p"]]:
    """Ranks and gains of one block's relevant items, best first within each query.

    An item's rank is the number of irrelevant items with its score or more, plus the relevant
    items before it. Relevant items that tie with each other are taken lowest gain first.
    """
    rows = np.repeat(np.arange(len(counts)), counts)
    reached = scores[rows, items]
    order = np.lexsort((gains, -reached, rows))
    reached, gains = reached[order], gains[order]
    first = np.repeat(np.cumsum(counts) - counts, counts)
    place = np.arange(len(rows)) - first

    thresholds = np.full((len(counts), int(counts.max())), np.inf, dtype=scores.dtype)
    thresholds[rows, place] = reached
    count = _count_by_comparing if thresholds.shape[1] <= FEW_POSITIVES else _count_by_sorting
    at_least = count(scores, thresholds)[rows, place]
    relevant_at_least = _last_of_each_run(rows, reached) - first + 1
    return at_least - relevant_at_least + place, gains


def _last_of_each_run(rows: Int64[np.ndarray, " p"], reached: Float[np.ndarray, " p"]) -> Int64[np.ndarray, " p"]:
    """For each entry, the position of the last entry of its row with the same score."""
    ends = np.append((rows[1:] != rows[:-1]) | (reached[1:] != reached[:-1]), True)
    last = np.flatnonzero(ends)
    return last[np.searchsorted(last, np.arange(len(rows)))]


def _count_by_comparing(
    scores: Float[np.ndarray, "b m"], thresholds: Float[np.ndarray, "b c"]
) -> Int64[np.ndarray, "b c"]:
    """How many scores of each row are at least each threshold of that row. Raises DataError for NaN."""
    counts = np.empty(thresholds.shape, dtype=np.int64)
    above = np.empty(scores.shape[1], dtype=np.bool_)
    # Row by row the mask stays in the processor's cache, and counting a flat mask is the fast case.
    for row, (row_scores, row_thresholds) in enumerate(zip(scores, thresholds, strict=True)):
        if np.isnan(row_scores.min()):
            raise _not_a_number()
        for column, threshold in enumerate(row_thresholds):
            np.greater_equal(row_scores, threshold, out=above)
            counts[row, column] = np.count_nonzero(above)
    return counts


def _count_by_sorting(
    scores: Float[np.ndarray, "b m"], thresholds: Float[np.ndarray, "b c"]
) -> Int64[np.ndarray, "b c"]:
    """The same counts; the cost does not grow with the number of thresholds."""
    counts = np.empty(thresholds.shape, dtype=np.int64)
    for row, (row_scores, row_thresholds) in enumerate(zip(scores, thresholds, strict=True)):
        ordered = np.sort(row_scores)
        if np.isnan(ordered[-1]):  # NaN sorts last
            raise _not_a_number()
        counts[row] = len(ordered) - np.searchsorted(ordered, row_thresholds, side="left")
    return counts


def _not_a_number() -> DataError:
    return DataError("a score is NaN, so nothing can be ranked by it; check the embeddings or the scorer")


def _check_fit(positives: Positives, queries: int, gallery: int) -> None:
    if (positives.queries, positives.gallery) != (queries, gallery):
        raise DataError(
            f"relevance was given for {positives.queries} queries and {positives.gallery} items, "
            f"found {queries} queries and {gallery} items"
        )
    if queries == 0 or gallery == 0:
        raise DataError(f"nothing to rank: {queries} queries, {gallery} items; expected at least one of each")
    if not positives.counts.all():
        number = int(np.argmin(positives.counts))
        raise DataError(f"query {number} has no relevant item; leave such queries out of the evaluation")


def _check_itself(itself: Int64[np.ndarray, " q"], positives: Positives) -> None:
    if len(itself) != positives.queries:
        raise DataError(f"{positives.queries} queries but {len(itself)} places of their own; expected one each")
    own = np.repeat(itself, positives.counts) == positives.items
    if own.any():
        number = int(np.searchsorted(positives.offsets, int(np.argmax(own)), side="right")) - 1
        raise DataError(f"query {number} is relevant to itself; leave it out of its own positives")


def _check_finite(vectors: Float32[np.ndarray, "n d"], what: str) -> None:
    # The squared length is NaN or infinite when any number is, and when products could overflow.
    squares: Float32[np.ndarray, " n"] = np.einsum("nd,nd->n", vectors, vectors)
    bad: Bool[np.ndarray, " n"] = ~np.isfinite(squares)
    if bad.any():
        raise DataError(
            f"{what} {int(np.argmax(bad))} holds NaN, infinite or huge numbers ({int(bad.sum())} such); "
            "expected finite vectors, L2-normalised for cosine"
        )


def _duplicates(
    vectors: Float32[np.ndarray, "n d"],
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
    """Rows that repeat an earlier row, and the first row that each of them repeats."""
    first: dict[bytes, int] = {}
    copies, originals = [], []
    for number, row in enumerate(vectors):
        # Adding 0.0 makes -0.0 and 0.0 the same bytes.
        original = first.setdefault(hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest(), number)
        if original != number:
            copies.append(number)
            originals.append(original)
    return np.array(copies, dtype=np.int64), np.array(originals, dtype=np.int64)
