"""Retrieval metrics: each takes the ranks of the relevant items and gives one value a query.

A metric's number is the mean of its values over the queries, except the median rank, which is
their median. An irrelevant item that ties with a relevant one ranks before it (see `ranks`), so
ties always count against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float64

from .ranks import Ranks

CUTS = (1, 5, 10)
Values = Float64[np.ndarray, " q"]


def recall_at(ranks: Ranks, k: int) -> Values:
    """1 where the best relevant item is among the first k, else 0 (Recall@k of the image-text field).

    With several captions an image counts as found when any one of them is: this is "success@k"
    in TREC's words, not the share of the captions found.
    """
    return (ranks.best < _cut(k)).astype(np.float64)


def precision_at(ranks: Ranks, k: int) -> Values:
    """Share of the first k places held by relevant items; places beyond the gallery's end are misses."""
    hits = (ranks.ranks < _cut(k)).astype(np.float64)
    return np.asarray(np.add.reduceat(hits, ranks.offsets[:-1]) / k)


def first_rank(ranks: Ranks) -> Values:
    """Place of the best relevant item, 1 for the first: the values behind medR (median) and meanR (mean).

    The median of an even number of queries is the mean of the middle two.
    """
    return ranks.best.astype(np.float64) + 1.0


def reciprocal_rank(ranks: Ranks) -> Values:
    """1 / place of the best relevant item, in (0, 1]; the mean is MRR."""
    return 1.0 / first_rank(ranks)


def average_precision(ranks: Ranks) -> Values:
    """Mean, over all relevant items, of the precision at each one's place, in (0, 1]; the mean is mAP.

    The whole ranking counts, without a cut.
    """
    place_among_relevant = _place_among_relevant(ranks) + 1.0
    precision = place_among_relevant / (ranks.ranks + 1.0)
    return np.asarray(np.add.reduceat(precision, ranks.offsets[:-1]) / ranks.counts)


def ndcg_at(ranks: Ranks, k: int) -> Values:
    """Normalised discounted cumulative gain of the first k places, in [0, 1].

    A relevant item at place r (from 1) earns gain / log2(r + 1); the sum is divided by that of the
    best possible order. Gains are used as given (TREC's form, not 2^gain - 1). Tied relevant
    items are taken lowest gain first.
    """
    starts = ranks.offsets[:-1]
    earned = np.where(ranks.ranks < _cut(k), ranks.gains / np.log2(ranks.ranks + 2.0), 0.0)
    ideal_gains = ranks.gains[np.lexsort((-ranks.gains, ranks.query_of))]
    place = _place_among_relevant(ranks)
    ideal = np.where(place < k, ideal_gains / np.log2(place + 2.0), 0.0)
    return np.asarray(np.add.reduceat(earned, starts) / np.add.reduceat(ideal, starts))


class Summary(StrEnum):
    """How one number is made of the queries' values."""

    MEAN = "mean"
    MEDIAN = "median"


@dataclass(frozen=True)
class Metric:
    """A metric of the table: its values, how they are summed up, and how they are printed."""

    name: str
    values: Callable[[Ranks], Values]
    summary: Summary = Summary.MEAN
    percent: bool = True  # printed x 100; the values themselves stay in [0, 1]
    lower_is_better: bool = False

    def of(self, ranks: Ranks) -> float:
        """The metric's number."""
        return summarise(self.values(ranks), self.summary)


def summarise(values: Values, summary: Summary) -> float:
    """Mean or median of the queries' values."""
    return float(np.median(values) if summary is Summary.MEDIAN else np.mean(values))


def metric_table(cuts: Iterable[int] = CUTS) -> dict[str, Metric]:
    """The metrics by name: R@k, medR, meanR, mAP, MRR, NDCG@k and P@k for every cut k."""
    cuts = sorted({_cut(k) for k in cuts})
    metrics = [
        *(Metric(f"R@{k}", partial(recall_at, k=k)) for k in cuts),
        Metric("medR", first_rank, Summary.MEDIAN, percent=False, lower_is_better=True),
        Metric("meanR", first_rank, percent=False, lower_is_better=True),
        Metric("mAP", average_precision),
        Metric("MRR", reciprocal_rank),
        *(Metric(f"NDCG@{k}", partial(ndcg_at, k=k)) for k in cuts if k > 1),
        *(Metric(f"P@{k}", partial(precision_at, k=k)) for k in cuts),
    ]
    return {metric.name: metric for metric in metrics}


def recall_sum_names() -> tuple[str, ...]:
    """The metrics that rsum adds up, over both directions and in percent: R@1, R@5, R@10; at most 600."""
    return tuple(f"R@{k}" for k in CUTS)


def _place_among_relevant(ranks: Ranks) -> Values:
    return np.arange(len(ranks.ranks)) - np.repeat(ranks.offsets[:-1], ranks.counts).astype(np.float64)


def _cut(k: int) -> int:
    if k < 1:
        raise ConfigError(f"a cut must be at least 1, found {k}")
    return k
