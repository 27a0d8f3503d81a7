"""Retrieval metrics: each takes the ranks of the relevant items and gives one value a query.

They are registered by name (`@register.metric("MRR", percent=True)`): `percent` is printed times 100, `median` sums
the queries up by their median, `lower_is_better` says so. One that takes `k` has a name that ends in "@k". A `graded`
one is given all items with a gain, others those whose gain is enough to be relevant (`Ranks.relevant_from`).

A metric's number is the mean of its values over the queries, except the median rank, which is
their median. An irrelevant item that ties with a relevant one ranks before it (see `ranks`), so
ties always count against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.registry import entries, register
from diptych.core.shapes import Float64

from .ranks import Ranks

CUTS = (1, 5, 10)
Values = Float64[np.ndarray, " q"]


@register.metric("R@k", "share of queries with a relevant item among the first k", percent=True, place=1)
def recall_at(ranks: Ranks, k: int) -> Values:
    """1 where the best relevant item is among the first k, else 0 (Recall@k of the image-text field).

    With several captions an image counts as found when any one of them is: this is "success@k"
    in TREC's words, not the share of the captions found.
    """
    return (ranks.best < _cut(k)).astype(np.float64)


@register.metric("share@k", "share of the relevant items that are among the first k", percent=True, place=8)
def share_at(ranks: Ranks, k: int) -> Values:
    """Share of the relevant items that are among the first k, in [0, 1]: "recall" in TREC's words.

    With one relevant item it is R@k. With more than k of them it stays below 1.
    """
    hits = (ranks.ranks < _cut(k)).astype(np.float64)
    return np.asarray(np.add.reduceat(hits, ranks.offsets[:-1]) / ranks.counts)


@register.metric("P@k", "share of the first k places held by relevant items", percent=True, place=7)
def precision_at(ranks: Ranks, k: int) -> Values:
    """Share of the first k places held by relevant items; places beyond the gallery's end are misses."""
    hits = (ranks.ranks < _cut(k)).astype(np.float64)
    return np.asarray(np.add.reduceat(hits, ranks.offsets[:-1]) / k)


@register.metric("medR", "median place of the best relevant item", median=True, lower_is_better=True, place=2)
@register.metric("meanR", "mean place of the best relevant item", lower_is_better=True, place=3)
def first_rank(ranks: Ranks) -> Values:
    """Place of the best relevant item, 1 for the first: the values behind medR (median) and meanR (mean).

    The median of an even number of queries is the mean of the middle two.
    """
    return ranks.best.astype(np.float64) + 1.0


@register.metric("MRR", "mean of 1 / place of the best relevant item", percent=True, place=5)
def reciprocal_rank(ranks: Ranks) -> Values:
    """1 / place of the best relevant item, in (0, 1]; the mean is MRR."""
    return 1.0 / first_rank(ranks)


@register.metric("mAP", "mean precision at the place of each relevant item", percent=True, place=4)
def average_precision(ranks: Ranks) -> Values:
    """Mean, over all relevant items, of the precision at each one's place, in (0, 1]; the mean is mAP.

    The whole ranking counts, without a cut.
    """
    place_among_relevant = _place_among_relevant(ranks) + 1.0
    precision = place_among_relevant / (ranks.ranks + 1.0)
    return np.asarray(np.add.reduceat(precision, ranks.offsets[:-1]) / ranks.counts)


@register.metric(
    "NDCG@k",
    "normalised discounted gain of the first k places",
    percent=True,
    place=6,
    smallest_cut=2,
    graded=True,
)
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
    graded: bool = False  # also counts items whose gain is too small to be relevant

    def checked(self, ranks: Ranks) -> Values:
        """The queries' values. Raises ConfigError when the metric does not give one number for each query."""
        values = np.asarray(self.values(ranks if self.graded else ranks.relevant), dtype=np.float64)
        if values.shape != ranks.counts.shape:
            raise ConfigError(
                f"the metric {self.name} gave an array of shape {values.shape}; expected one number for each of "
                f"{len(ranks.counts)} queries"
            )
        return values

    def of(self, ranks: Ranks) -> float:
        """The metric's number."""
        return summarise(self.checked(ranks), self.summary)


def summarise(values: Values, summary: Summary) -> float:
    """Mean or median of the queries' values."""
    return float(np.median(values) if summary is Summary.MEDIAN else np.mean(values))


def metric_table(cuts: Iterable[int] = CUTS) -> dict[str, Metric]:
    """The registered metrics by name, one whose name ends in "@k" for every cut k: R@1, R@5, R@10, medR, ...

    Those of other packages come after the built-in ones.
    """
    cuts = sorted({_cut(k) for k in cuts})
    found: dict[str, Metric] = {}
    for entry in sorted(entries("metric").values(), key=lambda entry: entry.facts.get("place", math.inf)):
        values, facts = entry.load().part, entry.facts
        told = (
            Summary.MEDIAN if facts.get("median") else Summary.MEAN,
            bool(facts.get("percent")),
            bool(facts.get("lower_is_better")),
            bool(facts.get("graded")),
        )
        if not entry.name.endswith("@k"):
            found[entry.name] = Metric(entry.name, values, *told)
            continue
        for k in cuts:
            if k >= facts.get("smallest_cut", 1):
                name = f"{entry.name[:-1]}{k}"
                found[name] = Metric(name, partial(values, k=k), *told)
    return found


def metric_named(name: str) -> Metric | None:
    """The metric of that name, at any cut ("R@7"); None when there is none."""
    cut = name.partition("@")[2]
    return metric_table([int(cut)] if cut.isdecimal() and int(cut) else ()).get(name)


def recall_sum_names() -> tuple[str, ...]:
    """The metrics that rsum adds up, over both directions and in percent: R@1, R@5, R@10; at most 600."""
    return tuple(f"R@{k}" for k in CUTS)


def _place_among_relevant(ranks: Ranks) -> Values:
    return np.arange(len(ranks.ranks)) - np.repeat(ranks.offsets[:-1], ranks.counts).astype(np.float64)


def _cut(k: int) -> int:
    if k < 1:
        raise ConfigError(f"a cut must be at least 1, found {k}")
    return k
