"""One direction of retrieval: its rankings, its metrics, and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from diptych.core.shapes import Int64

from .bootstrap import Addend, Interval, Number, Resampling, Sample, by_draw, percentile_interval, replicates
from .metrics import metric_table, recall_sum_names
from .protocols import Protocol
from .ranks import Ranks


@dataclass(frozen=True)
class Estimate:
    """A number, its bootstrap interval, and its standard deviation over the draws where there are several."""

    value: float
    interval: Interval | None = None
    deviation: float | None = None


@dataclass(frozen=True)
class Spread:
    """Smallest, mean and largest of some counts."""

    min: int
    mean: float
    max: int

    @classmethod
    def of(cls, counts: Sequence[int] | Int64[np.ndarray, " c"]) -> Spread:
        """The spread of at least one count."""
        return cls(int(np.min(counts)), float(np.mean(counts)), int(np.max(counts)))


@dataclass(frozen=True)
class DrawRanking:
    """The ranks of one draw, and the unit (record) that each query belongs to."""

    ranks: Ranks
    units: Int64[np.ndarray, " q"]


@dataclass(frozen=True)
class Direction:
    """One direction's results: the sizes that name the task, and the metrics by name."""

    gallery: Spread  # items ranked, over the draws
    queries: Spread  # queries, over the draws
    positives: Spread  # relevant items a query, over all queries
    metrics: Mapping[str, Estimate]
    numbers: Mapping[str, Number] = field(repr=False)  # the queries' values, for a paired comparison
    rankings: tuple[DrawRanking, ...] = field(repr=False)  # one a draw: where every relevant item landed


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """By which rules retrieval was measured, and on how much."""

    protocol: Protocol
    draws: int
    seed: int
    relevance: str  # "pair", "group", within images "view", or between queries and documents "label"
    resamples: int  # 0: no intervals
    records: int
    images: int  # 0 where texts are ranked by texts
    texts: int  # 0 where images are ranked by images
    records_without_texts: int = 0  # their images are left out of queries and gallery
    alone: int = 0  # items with no other relevant item: in the gallery, but no queries (first draw)


def unmeasured(rankings: Sequence[DrawRanking], cuts: Iterable[int]) -> Direction:
    """A direction whose metrics' estimates are filled in later, all in one bootstrap."""
    return Direction(
        gallery=Spread.of([one.ranks.gallery for one in rankings]),
        queries=Spread.of([len(one.units) for one in rankings]),
        positives=Spread.of(np.concatenate([one.ranks.relevant.counts for one in rankings])),
        metrics={},
        numbers=numbers_of(rankings, cuts),
        rankings=tuple(rankings),
    )


def numbers_of(rankings: Sequence[DrawRanking], cuts: Iterable[int]) -> dict[str, Number]:
    """The metrics of `metric_table` by name, each with its queries' values in every draw."""
    return {
        name: Number((Addend(tuple(Sample(metric.checked(one.ranks), one.units) for one in rankings), metric.summary),))
        for name, metric in metric_table(cuts).items()
    }


def recall_sum(both: Sequence[Mapping[str, Number]]) -> Number | None:
    """The number behind rsum; None when a cut of R@1, R@5 or R@10 was left out."""
    names = recall_sum_names()
    if not all(name in numbers for numbers in both for name in names):
        return None
    return Number(tuple(term for numbers in both for name in names for term in numbers[name].terms), scale=100.0)


def estimates(numbers: Sequence[Number], units: int, resamples: int, seed: int) -> list[Estimate]:
    """Each number with its interval (none when `resamples` is 0) and its deviation over the draws."""
    intervals: list[Interval | None] = [None] * len(numbers)
    if resamples:
        intervals = [percentile_interval(row) for row in replicates(numbers, Resampling(units, resamples, seed))]
    return [
        Estimate(float(np.mean(values)), bounds, float(np.std(values)) if len(values) > 1 else None)
        for values, bounds in zip(map(by_draw, numbers), intervals, strict=True)
    ]
