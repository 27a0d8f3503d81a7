"""The nearest of many that are allowed: what hard wrong partners are taken from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Bool, Float32, Int64

ROWS = 1024  # compared with all others at once


def nearest_allowed(
    scores: Float32[np.ndarray, "q n"], allowed: Bool[np.ndarray, "q n"], most: int
) -> Int64[np.ndarray, "q most"] | None:
    """The columns with the highest scores among those that each row allows, the highest first.

    Rows that allow fewer than `most` give all rows fewer, which are repeated. None where a row allows no column.
    """
    least = int(allowed.sum(1).min())
    if not least:
        return None
    kept = min(most, least)
    scores = np.where(allowed, scores, -np.inf)
    near = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
    order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
    return np.resize(np.take_along_axis(near, order, axis=1).T, (most, len(scores))).T


def nearest_records(
    images: Float32[np.ndarray, "r d"],
    texts: Float32[np.ndarray, "r d"],
    held: Sequence[Sequence[Hashable]],
    most: int,
) -> Int64[np.ndarray, "r most"]:
    """Of each record the others whose image suits its text and whose text suits its image, the nearest first.

    Args:
        images: a vector of each record's images.
        texts: a vector of each record's texts.
        held: what each record holds (images, texts); records that hold the same thing are not wrong for each other.
        most: how many; where there are fewer, they are repeated.

    Raises DataError where all records hold the same.
    """
    sharing: dict[Hashable, list[int]] = defaultdict(list)
    for record, things in enumerate(held):
        for thing in things:
            sharing[thing].append(record)
    found = np.zeros((len(images), most), dtype=np.int64)
    for start in range(0, len(images), ROWS):
        part = slice(start, start + ROWS)
        scores = images[part] @ texts.T + texts[part] @ images.T
        wrong = np.ones(scores.shape, dtype=np.bool_)
        for row, things in enumerate(held[part]):
            wrong[row, [start + row, *(record for thing in things for record in sharing[thing])]] = False
        near = nearest_allowed(scores, wrong, most)
        if near is None:
            raise DataError("a record has no wrong partner: all others hold the same; give more data")
        found[part] = near
    return found
