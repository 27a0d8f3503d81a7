"""Hard negatives: for each record, the other records that a model takes for it most readily.

Records i and j are compared by a gap: how far a wrong match of theirs comes to a right one,

    gap(i, j) = max( max_t'  s(i, t') - max_t s(i, t),     texts t' of j against i's best own text
                     max_t   s(j, t)  - s(i, t)       )     image j against image i, for i's texts t

with s the cosine. Negatives with a gap of -margin or more are hard. What is too good to be wrong is
left out: a gap above `guard`, a text of j nearer than `text_guard` to a text of i, the same class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

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
        if self.k < 1:
            raise ConfigError(f"k must be at least 1, found {self.k}")
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
    labels: Int64[np.ndarray, " n"] | None = None,
    block_scores: int = BLOCK_SCORES,
    progress: Progress = SILENT,
) -> Iterator[Mined]:
    """Hard negatives of every record in order, a block of records at a time.

    `owner` ascends and names every image; vectors have unit length. Records with the same label are
    never negatives. Memory is a few times `block_scores`, or of one record against all texts.
    Raises DataError for parts that do not fit.
    """
    settings = settings or MiningSettings()
    if len(owner) != len(texts) or not np.array_equal(np.unique(owner), np.arange(len(images))):
        raise DataError("owner must name, for every text, one of the images, and every image at least once")
    if (np.diff(owner) < 0).any():
        raise DataError("texts must be in the order of their images")
    first = np.searchsorted(owner, np.arange(len(images) + 1))
    most = int(np.diff(first).max())
    rows = max(1, block_scores // (len(texts) * most))
    starts = range(0, len(images), rows)
    for start in progress.track(starts, "hard negatives", len(starts)):
        block = np.arange(start, min(start + rows, len(images)))
        gap, alike = _gaps(images, texts, owner, first, block)
        same = block[:, None] == np.arange(len(images))
        if labels is not None:
            same |= labels[block, None] == labels
        for row, record in enumerate(block):
            yield _pick(int(record), gap[row], alike[row], same[row], settings)


def _gaps(
    images: Float32[np.ndarray, "n d"],
    texts: Float32[np.ndarray, "m d"],
    owner: Int64[np.ndarray, " m"],
    first: Int64[np.ndarray, " bounds"],
    block: Int64[np.ndarray, " b"],
) -> tuple[Float32[np.ndarray, "b n"], Float32[np.ndarray, "b n"]]:
    """Gap of every record in the block to every record, and the nearness of their texts."""
    span = slice(int(first[block[0]]), int(first[block[-1] + 1]))
    own_texts, own_first = texts[span], first[block] - first[block[0]]
    by_record = np.maximum.reduceat(images[block] @ texts.T, first[:-1], axis=1)  # best text of each record
    to_text = by_record - by_record[np.arange(len(block)), block][:, None]
    to_image = own_texts @ images.T
    to_image -= to_image[np.arange(len(own_texts)), owner[span]][:, None]
    alike = np.maximum.reduceat(own_texts @ texts.T, first[:-1], axis=1)
    gap = np.maximum(to_text, np.maximum.reduceat(to_image, own_first, axis=0))
    return gap, np.maximum.reduceat(alike, own_first, axis=0)


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
