"""Krippendorff's alpha against published values, a slow reading of its definition, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.evaluation.agreement import krippendorff_alpha


def counted(*raters: str) -> np.ndarray:
    """How often each value was given to each unit; a point is no value."""
    rows = [rater.split() for rater in raters]
    values = sorted({value for row in rows for value in row} - {"."})
    return np.array([[column.count(value) for value in values] for column in map(list, zip(*rows, strict=True))])


# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), part C: 0.743
FOUR_RATERS = counted(
    "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."
)
# the example of Wikipedia's article: 0.691
THREE_RATERS = counted(
    ". . . . . 3 4 1 2 1 1 3 3 . 3", "1 . 2 1 3 3 4 3 . . . . . . .", ". . 2 1 3 4 4 . 2 1 1 3 3 . 4"
)


@pytest.mark.parametrize(("counts", "published", "units"), [(FOUR_RATERS, 0.743, 11), (THREE_RATERS, 0.691, 12)])
def test_published_examples(counts, published, units):
    found = krippendorff_alpha(counts)
    assert found.alpha == pytest.approx(published, abs=5e-4)
    assert found.interval is not None
    assert found.interval.low < found.alpha < found.interval.high
    assert found.units == units  # the others have one value, or none


def slow_alpha(counts: np.ndarray) -> float:
    """Disagreement within units over disagreement of all values, pair by pair."""
    units = [[value for value, times in enumerate(row) for _ in range(times)] for row in counts if row.sum() > 1]
    every = [value for unit in units for value in unit]
    observed = sum(
        (one != other) / (len(unit) - 1)
        for unit in units
        for i, one in enumerate(unit)
        for j, other in enumerate(unit)
        if i != j
    )
    pairs = [(one, other) for i, one in enumerate(every) for j, other in enumerate(every) if i != j]
    return 1 - observed / len(every) / (sum(one != other for one, other in pairs) / len(pairs))


def test_against_a_slow_reading_of_the_definition():
    counts = np.random.default_rng(0).integers(0, 4, size=(12, 3))
    assert krippendorff_alpha(counts, resamples=0).alpha == pytest.approx(slow_alpha(counts))


def test_limits():
    assert krippendorff_alpha(np.array([[3, 0], [0, 3]]), resamples=0).alpha == 1.0
    opposed = krippendorff_alpha(np.array([[1, 1]] * 20), resamples=0)
    assert (opposed.alpha < 0, opposed.agreeing) == (True, 0.0)
    equal = krippendorff_alpha(np.array([[2, 0], [5, 0]]))  # nothing to disagree about: not defined
    assert (equal.alpha, equal.interval, equal.agreeing) == (None, None, 1.0)
    alone = krippendorff_alpha(np.array([[1, 0], [0, 1]]))
    assert (alone.alpha, alone.agreeing, alone.units) == (None, None, 0)
