"""Hard negatives: for each record, the other records that a model confuses with it most.

Records i and j are compared by a gap: how far a wrong match of theirs comes to a right one,

    gap(i, j) = max( max_a [ max_t' s(a, t') - max_t s(a, t) ],     texts t' of j against a's best own text
                     max_t [ max_b  s(b, t)  - max_a s(a, t) ] )     images b of j against t's best own image

with s the cosine, a and t the images and texts of i. Negatives with a gap of -margin or more are hard. What is
too good to be wrong is left out: a gap above `guard`, a text of j nearer than `text_guard` to a text of i, the
same class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diptych.core.config import check_least
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, Float32, Int64

BLOCK_SCORES = 1 << 22  # scores held at a time in one matrix: 16 MiB; four such matrices are in use


@dataclass(frozen=True)
class MiningSettings:
    """How hard is hard, and what is too hard to be a negative; all in cosine."""

    k: int = 10  # negatives a record, at most
    margin: float = 0.2
    guard: float = 0.1
    text_guard: float = 0.85

    def __post_init__(self) -> None:
        check_least(self, k=1)
        if self.margin < 0 or self.guard < -self.margin:
            raise ConfigError(
                f"margin must be 0 or more and guard at least -margin, found margin {self.margin}, guard {self.guard}"
            )


@dataclass(frozen=True)
class Mined:
    """Hard negatives of one record, hardest first, and how many were left out by the guards."""

    record: int
    others: Int64[np.ndarray, " k"]
    gaps: Float32[np.ndarray, " k"]
    guarded: int  # hard enough, but maybe no negatives


def mine(
    images: Float32[np.ndarray, "n d"],
    texts: Float32[np.ndarray, "m d"],
    owner: Int64[np.ndarray, " m"],
    settings: MiningSettings | None = None,
    *,
    image_owner: Int64[np.ndarray, " n"] | None = None,
    labels: Int64[np.ndarray, " records"] | None = None,
    block_scores: int = BLOCK_SCORES,
    progress: Progress = SILENT,
) -> Iterator[Mined]:
    """Hard negatives of every record in order, a block of records at a time.

    `owner` and `image_owner` (None: image i is record i) name the records of texts and images; they ascend, and
    every record has both. Vectors have unit length. Records with the same label are never negatives. Memory is a
    few times `block_scores`, or of one record against all texts. Raises DataError for parts that do not fit.
    """
    settings = settings or MiningSettings()
    image_owner = np.arange(len(images)) if image_owner is None else image_owner
    records = int(image_owner.max(initial=-1)) + 1
    image_side, text_side = _side(images, image_owner, records, "image"), _side(texts, owner, records, "text")
    rows = max(1, block_scores // max(image_side.widest * len(texts), text_side.widest * max(len(images), len(texts))))
    starts = range(0, records, rows)
    for start in progress.track(starts, "hard negatives (batches)", len(starts)):
        block = np.arange(start, min(start + rows, records))
        gap, alike = _gaps(image_side, text_side, block)
        same = block[:, None] == np.arange(records)
        if labels is not None:
            same |= labels[block, None] == labels
        for row, record in enumerate(block):
            yield _pick(int(record), gap[row], alike[row], same[row], settings)


@dataclass(frozen=True)
class _Side:
    """The images or the texts; record r's are `vectors[first[r]:first[r + 1]]`."""

    vectors: Float32[np.ndarray, "n d"]
    owner: Int64[np.ndarray, " n"]
    first: Int64[np.ndarray, " bounds"]

    @property
    def widest(self) -> int:
        """Most items of one record."""
        return int(np.diff(self.first).max())

    def span(self, block: Int64[np.ndarray, " b"]) -> slice:
        """Where the items of a block of consecutive records are."""
        return slice(int(self.first[block[0]]), int(self.first[block[-1] + 1]))

    def best(self, own: Float32[np.ndarray, "q d"]) -> Float32[np.ndarray, "q records"]:
        """The nearest item of each record to each of `own`."""
        return np.asarray(np.maximum.reduceat(own @ self.vectors.T, self.first[:-1], axis=1))

    def per_record(
        self, values: Float32[np.ndarray, "q records"], block: Int64[np.ndarray, " b"]
    ) -> Float32[np.ndarray, "b records"]:
        """The largest value of each record of the block; rows are the block's items."""
        return np.asarray(np.maximum.reduceat(values, self.first[block] - self.first[block[0]], axis=0))


def _side(vectors: Float32[np.ndarray, "n d"], owner: Int64[np.ndarray, " n"], records: int, what: str) -> _Side:
    if len(owner) != len(vectors) or not np.array_equal(np.unique(owner), np.arange(records)):
        raise DataError(f"every {what} must have one of the {records} records as owner, and every record one or more")
    if (np.diff(owner) < 0).any():
        raise DataError(f"{what}s must be in the order of their records")
    return _Side(vectors, owner, np.searchsorted(owner, np.arange(records + 1)))


def _gaps(
    images: _Side, texts: _Side, block: Int64[np.ndarray, " b"]
) -> tuple[Float32[np.ndarray, "b records"], Float32[np.ndarray, "b records"]]:
    """Gap of every record in the block to every record, and the nearness of their texts."""

    def one_way(queries: _Side, items: _Side) -> Float32[np.ndarray, "b records"]:
        span = queries.span(block)
        found = items.best(queries.vectors[span])
        found -= found[np.arange(len(found)), queries.owner[span]][:, None]
        return queries.per_record(found, block)

    alike = texts.per_record(texts.best(texts.vectors[texts.span(block)]), block)
    return np.maximum(one_way(images, texts), one_way(texts, images)), alike


def _pick(
    record: int,
    gap: Float32[np.ndarray, " n"],
    alike: Float32[np.ndarray, " n"],
    same: Bool[np.ndarray, " n"],
    settings: MiningSettings,
) -> Mined:
    hard = (gap >= -settings.margin) & ~same
    suspicious = (gap > settings.guard) | (alike >= settings.text_guard)
    candidates = np.flatnonzero(hard & ~suspicious)
    if len(candidates) > settings.k:
        bar = np.partition(gap[candidates], -settings.k)[-settings.k]
        candidates = candidates[gap[candidates] >= bar]
    others = candidates[np.argsort(-gap[candidates], kind="stable")[: settings.k]]
    return Mined(record, others, gap[others], int((hard & suspicious).sum()))
