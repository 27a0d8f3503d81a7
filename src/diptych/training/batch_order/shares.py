"""How much of an epoch is of each source, where several sources are learnt from together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Int

_ROUNDING = 1e-6  # by which weights of all sources may miss 1


def check_weights(weights: Sequence[float]) -> None:
    """Raise ConfigError for weights that are no shares of an epoch; 0 is a source without one."""
    for weight in weights:
        if not 0 <= weight < 1:
            raise ConfigError(f"a weight is the share of a source in an epoch, above 0 and below 1; found {weight:g}")
    total = sum(weights)
    if all(weights) and abs(total - 1) > _ROUNDING:
        raise ConfigError(
            f"the weights of all {len(weights)} sources add up to {total:g}; expected 1, or a source without a weight, "
            "which shows every record once an epoch"
        )
    if not all(weights) and total >= 1:
        raise ConfigError(
            f"the weights add up to {total:g}, which leaves nothing of an epoch for the sources without one; expected "
            "less than 1"
        )


@dataclass(frozen=True)
class SourceShares:
    """Which rows an epoch shows, so that each source has its share of them.

    A source without a weight (0) shows each of its rows once an epoch. A weight is the share of the epoch's rows that
    are of its source: a source that has more rows shows some of them, drawn anew each epoch; one that has fewer shows
    all of them equally often, and some once more. Where every source has a weight, an epoch has as many rows as there
    are.

    Args:
        source: number of the source of each row.
        weights: of the sources, by their numbers.
    """

    source: Int[np.ndarray, " m"]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        check_weights(self.weights)
        for number, weight in enumerate(self.weights):
            if weight and not (self.source == number).any():
                raise ConfigError(
                    f"source {number + 1} has the weight {weight:g}, and nothing of its own to show: its images are "
                    "those of other sources, or its texts only stand in for theirs; leave its weight out"
                )

    def counts(self) -> Int[np.ndarray, " s"]:
        """How many rows an epoch shows of each source."""
        weights = np.array(self.weights)
        there = np.bincount(self.source, minlength=len(weights))
        total = len(self.source) if weights.all() else there[weights == 0].sum() / (1 - weights.sum())
        return np.where(weights > 0, np.maximum(np.round(weights * total), 1), there).astype(np.int64)

    def times(self) -> Float[np.ndarray, " m"]:
        """How often an epoch shows each row, on average."""
        there = np.bincount(self.source, minlength=len(self.weights))
        return np.asarray((self.counts() / np.maximum(there, 1))[self.source])

    def draw(self, generator: np.random.Generator) -> Int[np.ndarray, " k"]:
        """The rows of an epoch, ascending, each as often as it is shown."""
        drawn = []
        for number, count in enumerate(self.counts().tolist()):
            rows = np.flatnonzero(self.source == number)
            if len(rows):
                whole, rest = divmod(count, len(rows))
                drawn += [np.repeat(rows, whole), generator.permutation(rows)[:rest]]
        return np.sort(np.concatenate(drawn))
