"""Batches of given pairs of texts, with or without labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Int

from .rows import TEXTS, BatchRows, SecondRows
from .text_batches import mix_single_records


class RelatedBatches:
    """Every pair once an epoch, in a random order; no batch is of a single record.

    Args:
        first, second: text rows of each pair.
        owner: record of each pair.
        labels: how related the two texts of each are, from 0 to 1; None where all are.
        batch_size: pairs a batch, evened out over the epoch.
        seed: with the epoch's number it fixes the order.

    Raises ConfigError for pairs of a single record.
    """

    left_out = 0

    def __init__(
        self,
        first: Int[np.ndarray, " p"],
        second: Int[np.ndarray, " p"],
        owner: Int[np.ndarray, " p"],
        labels: Float[np.ndarray, " p"] | None = None,
        *,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        at_least("batch_size", batch_size, 2)
        counts = np.unique(owner, return_counts=True)[1]
        if len(counts) < 2:
            raise ConfigError(f"training needs pairs of at least 2 records, found {len(counts)}; add data")
        self._first, self._second, self._owner, self._labels = first, second, owner, labels
        self._seed = seed
        others = len(owner) - int(counts.max())
        self.batches = max(1, min(round(len(owner) / batch_size), len(owner) // 3, others))

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        order = np.random.default_rng((self._seed, number)).permutation(len(self._owner))
        for pairs in mix_single_records(np.array_split(order, self.batches), self._owner):
            none = np.zeros(len(pairs), dtype=np.int64)
            yield BatchRows(
                none,
                none,
                self._first[pairs],
                self._owner[pairs],
                TEXTS,
                SecondRows(self._second[pairs], none),
                label=None if self._labels is None else self._labels[pairs],
            )
