"""Bootstrap intervals: how much a number would move with other queries from the same source.

What is resampled is the record: its images as queries image→text, its texts as queries text→image (a
cluster bootstrap), because captions of one photo, and photos of one dish, are found or missed together
and treating them as independent would make the interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float64, Int64

from .correlation import Correlation
from .metrics import Summary, summarise

CHUNK_COUNTS = 1 << 21  # resampling counts held at a time: 16 MiB
LEVEL = 0.95


@dataclass(frozen=True)
class Sample:
    """The queries of one ranking: a metric's values and the unit (record) each query belongs to.

    With `classes` (the class of each query, from 0) the sample's number is the mean over the classes of each one's
    mean; in a resample, over the classes that are drawn. With `labels` it is the correlation of the values with them,
    Pearson's or, `by_rank`, Spearman's.
    """

    values: Float64[np.ndarray, " q"]
    units: Int64[np.ndarray, " q"]
    classes: Int64[np.ndarray, " q"] | None = None
    labels: Float64[np.ndarray, " q"] | None = None
    by_rank: bool = False


@dataclass(frozen=True)
class Addend:
    """The mean, over the rankings of a protocol (one, or its folds or bags), of each one's summary."""

    samples: tuple[Sample, ...]
    summary: Summary = Summary.MEAN


@dataclass(frozen=True)
class Number:
    """A reported number: `scale` times the sum of its terms. A plain metric has one term, rsum six."""

    terms: tuple[Addend, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Difference:
    """How much a second run's number is above the first's, on the same queries.

    `p_value` is two-sided: twice the share of resamples in which the sign turns (with one added to
    both counts, so that it is never zero).
    """

    value: float
    interval: Interval
    p_value: float


@dataclass(frozen=True)
class Resampling:
    """Which units each resample draws. Equal settings draw equal units, so two runs can be paired.

    Units are numbered from 0, and each one has a query in some sample.
    """

    units: int
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.units < 1 or self.resamples < 1:
            raise ConfigError(
                "a bootstrap needs at least one unit and one resample, "
                f"found {self.units} units and {self.resamples} resamples"
            )

    def counts(self) -> Iterator[Int64[np.ndarray, "chunk units"]]:
        """How often each resample (row) draws each unit (column), a chunk of resamples at a time."""
        generator = np.random.default_rng(self.seed)
        chunk = max(1, CHUNK_COUNTS // self.units)
        for start in range(0, self.resamples, chunk):
            rows = min(chunk, self.resamples - start)
            drawn = generator.integers(0, self.units, size=(rows, self.units))
            drawn += np.arange(rows)[:, None] * self.units
            yield np.bincount(drawn.ravel(), minlength=rows * self.units).reshape(rows, self.units)


def by_draw(number: Number) -> list[float]:
    """The number in each draw: no resampling, every query once."""
    per_term = [[_summary(sample, term.summary) for sample in term.samples] for term in number.terms]
    return [number.scale * sum(values) for values in zip(*per_term, strict=True)]


def _summary(sample: Sample, summary: Summary) -> float:
    if sample.labels is not None:
        return _correlation(sample)(np.ones(len(sample.values)))
    if sample.classes is None:
        return summarise(sample.values, summary)
    sums, counts = (np.bincount(sample.classes, weights) for weights in (sample.values, None))
    return float(np.mean(sums[counts > 0] / counts[counts > 0]))


def _correlation(sample: Sample) -> Correlation:
    assert sample.labels is not None
    return Correlation(sample.values, sample.labels, by_rank=sample.by_rank)


def summarised(number: Number) -> float:
    """The number itself: the mean over the draws."""
    return float(np.mean(by_draw(number)))


def replicates(numbers: Sequence[Number], resampling: Resampling) -> Float64[np.ndarray, "numbers resamples"]:
    """Every number in every resample.

    All of them share the drawn units, so a record that is in several bags, or a query in both
    directions, counts the same everywhere.
    """
    estimators = [_number(number, resampling.units) for number in numbers]
    chunks = [[estimate(counts) for estimate in estimators] for counts in resampling.counts()]
    return np.concatenate([np.array(chunk) for chunk in chunks], axis=1)


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float


def percentile_interval(replicated: Float64[np.ndarray, " resamples"], level: float = LEVEL) -> Interval:
    """The interval that holds the middle `level` of the resamples; of those that have a number, if any is NaN."""
    low, high = np.nanquantile(replicated, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_difference(first: Number, second: Number, resampling: Resampling, level: float = LEVEL) -> Difference:
    """Second minus first on the same queries, every resample drawing the same records for both.

    Raises ConfigError when the two runs do not have the same queries.
    """
    if not same_queries(first, second):
        raise ConfigError("the two runs have different queries; a paired comparison needs the same ones")
    once = np.ones((1, resampling.units), dtype=np.int64)
    value = _number(second, resampling.units)(once) - _number(first, resampling.units)(once)
    replicated = replicates([first, second], resampling)
    moved = replicated[1] - replicated[0]
    return Difference(float(value[0]), percentile_interval(moved, level), sign_p_value(moved))


def sign_p_value(moved: Float64[np.ndarray, " resamples"]) -> float:
    """Two-sided: twice the share of resampled differences on the other side of zero, one added to both counts."""
    turned = min(int((moved <= 0).sum()), int((moved >= 0).sum()))
    return min(1.0, 2 * (turned + 1) / (int(np.isfinite(moved).sum()) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several (Holm 1979): the chance of any false alarm among them stays below level.

    The i-th smallest of m is multiplied by m - i + 1 (i from 1), made monotone, and cut at 1.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for step, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[place]))
        corrected[place] = highest
    return corrected


# Turns rows of counts (how often each unit was drawn) into numbers.
Estimator = Callable[[Int64[np.ndarray, "r units"]], Float64[np.ndarray, " r"]]


def _number(number: Number, units: int) -> Estimator:
    terms = [_term(term, units) for term in number.terms]

    def estimate(counts: Int64[np.ndarray, "r units"]) -> Float64[np.ndarray, " r"]:
        return np.asarray(number.scale * np.sum([term(counts) for term in terms], axis=0))

    return estimate


def _term(term: Addend, units: int) -> Estimator:
    make = _weighted_mean if term.summary is Summary.MEAN else _weighted_median
    samples = [_of_sample(sample, make)(sample, units) for sample in term.samples]

    def estimate(counts: Int64[np.ndarray, "r units"]) -> Float64[np.ndarray, " r"]:
        if len(samples) == 1:
            return samples[0](counts)
        # A tiny fold may not be drawn at all in some resample: it is NaN there, and left out.
        return np.asarray(np.nanmean([sample(counts) for sample in samples], axis=0))

    return estimate


def _of_sample(sample: Sample, plain: Callable[[Sample, int], Estimator]) -> Callable[[Sample, int], Estimator]:
    if sample.labels is not None:
        return _weighted_correlation
    return plain if sample.classes is None else _class_mean


def _weighted_mean(sample: Sample, units: int) -> Estimator:
    sums = np.bincount(sample.units, weights=sample.values, minlength=units)
    sizes = np.bincount(sample.units, minlength=units)
    both = np.stack([sums, sizes], axis=1)

    def estimate(counts: Int64[np.ndarray, "r units"]) -> Float64[np.ndarray, " r"]:
        total, size = (counts @ both).T
        return np.asarray(np.divide(total, size, out=np.full_like(total, np.nan), where=size > 0))

    return estimate


def _weighted_correlation(sample: Sample, units: int) -> Estimator:
    correlation = _correlation(sample)

    def estimate(counts: Int64[np.ndarray, "r units"]) -> Float64[np.ndarray, " r"]:
        return np.array([correlation(row[sample.units].astype(np.float64)) for row in counts])

    return estimate


def _class_mean(sample: Sample, units: int) -> Estimator:
    assert sample.classes is not None
    order = np.argsort(sample.classes, kind="stable")
    values, unit_of, classes = sample.values[order], sample.units[order], sample.classes[order]
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]])

    def mean(counts: Int64[np.ndarray, " units"]) -> float:
        drawn = counts[unit_of]
        sums, sizes = np.add.reduceat(drawn * values, starts), np.add.reduceat(drawn, starts)
        return float(np.mean(sums[sizes > 0] / sizes[sizes > 0])) if sizes.any() else float("nan")

    def estimate(counts: Int64[np.ndarray, "r units"]) -> Float64[np.ndarray, " r"]:
        return np.array([mean(row) for row in counts])

    return estimate


def _weighted_median(sample: Sample, units: int) -> Estimator:
    order = np.argsort(sample.values, kind="stable")
    values, unit_of = sample.values[order], sample.units[order]

    def median(counts: Int64[np.ndarray, " units"]) -> float:
        upto = np.cumsum(counts[unit_of])
        if upto[-1] == 0:
            return float("nan")
        middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
        return float(values[middle].mean())

    def estimate(counts: Int64[np.ndarray, "r units"]) -> Float64[np.ndarray, " r"]:
        return np.array([median(row) for row in counts])

    return estimate


def same_queries(first: Number, second: Number) -> bool:
    """Whether two numbers have values for the same units in the same order, so that they can be paired."""

    def units(number: Number) -> list[Int64[np.ndarray, " q"]]:
        return [sample.units for term in number.terms for sample in term.samples]

    one, other = units(first), units(second)
    return len(one) == len(other) and all(map(np.array_equal, one, other))
