"""Which gallery items are relevant to which query, as one flat list with offsets (CSR)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float64, Int, Int64


@dataclass(frozen=True)
class Positives:
    """The relevant gallery items of every query.

    Query i's items are `items[offsets[i]:offsets[i + 1]]`, each with a gain above zero (1 unless
    relevance is graded). `gallery` is the number of items there are to choose from.
    """

    offsets: Int64[np.ndarray, " bounds"]
    items: Int64[np.ndarray, " p"]
    gains: Float64[np.ndarray, " p"]
    gallery: int

    @classmethod
    def from_labels(cls, queries: Int[np.ndarray, " q"], gallery: Int[np.ndarray, " m"]) -> Positives:
        """Every gallery item with the query's label is relevant.

        With images labelled 0..n-1 and texts labelled by the image that owns them this is
        pair-level relevance, in either direction; with classes as labels, class-level.
        """
        order = np.argsort(gallery, kind="stable")
        ordered = np.asarray(gallery)[order]
        first = np.searchsorted(ordered, queries, side="left")
        counts = np.searchsorted(ordered, queries, side="right") - first
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        items = order[np.repeat(first, counts) + within].astype(np.int64)
        return cls(offsets, items, np.ones(len(items)), len(ordered))

    @classmethod
    def among(cls, labels: Int[np.ndarray, " m"], queries: Int64[np.ndarray, " q"]) -> Positives:
        """Items that are queries to each other: every *other* item with the query's label is relevant.

        `queries` are places in the gallery. An item alone with its label has no positives.
        """
        every = cls.from_labels(np.asarray(labels)[queries], labels)
        others = every.items != np.repeat(queries, every.counts)
        kept_before = np.concatenate(([0], np.cumsum(others)))
        offsets = kept_before[every.offsets].astype(np.int64)
        return cls(offsets, every.items[others], every.gains[others], every.gallery)

    @classmethod
    def from_gains(cls, queries: Sequence[Mapping[int, float]], gallery: int) -> Positives:
        """Graded relevance: for each query a map from gallery item to gain; gains of zero are dropped.

        Raises DataError for an item outside the gallery and for a gain that is negative or not finite.
        """
        kept: list[list[tuple[int, float]]] = []
        for number, wanted in enumerate(queries):
            for item, gain in wanted.items():
                if not 0 <= item < gallery:
                    raise DataError(f"query {number} names item {item}; the gallery has {gallery} items")
                if not (np.isfinite(gain) and gain >= 0):
                    raise DataError(f"query {number} gives item {item} the gain {gain}; expected 0 or more")
            kept.append([(item, gain) for item, gain in wanted.items() if gain > 0])
        flat = [entry for wanted_items in kept for entry in wanted_items]
        return cls(
            np.concatenate(([0], np.cumsum([len(wanted_items) for wanted_items in kept]))).astype(np.int64),
            np.array([item for item, _ in flat], dtype=np.int64),
            np.array([gain for _, gain in flat], dtype=np.float64),
            gallery,
        )

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int64[np.ndarray, " q"]:
        """Relevant items of each query."""
        return np.diff(self.offsets)


def group_labels(groups: Sequence[str | None]) -> Int64[np.ndarray, " n"]:
    """A number for each group; an item without a group is alone in one of its own.

    Raises DataError when no item has a group, because relevance by group would then mean nothing.
    """
    if all(group is None for group in groups):
        raise DataError("no pair names a group, so relevance cannot go by group; use relevance by pair")
    numbers: dict[str | tuple[int], int] = {}
    keys = [(place,) if group is None else group for place, group in enumerate(groups)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
