"""Intervals of measures of generated images: of means by bootstrap, of other numbers by jackknife."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Float, Int64

from ..bootstrap import Addend, Interval, Number, Sample
from ..direction import Estimate, estimates

_NORMAL = 1.959963984540054  # 97.5% of a Gaussian


def grouped_jackknife(
    statistic: Callable[[Int64[np.ndarray, " kept"]], float], items: int, *, groups: int = 10, seed: int = 0
) -> Estimate:
    """`statistic` of all items, and value ± 1.96 SE with SE^2 = (g - 1) / g · sum (without group - their mean)^2.

    The delete-a-group jackknife. A bootstrap would repeat images, which distances between sets and nearest
    neighbours take for a real likeness; leaving a tenth out moves them little, and by the same bias each time.

    Raises ConfigError for fewer than two groups; there are never more groups than items.
    """
    groups = min(groups, items)
    if groups < 2:
        raise ConfigError(f"a jackknife needs at least two groups, found {groups} of {items} items")
    every = np.arange(items)
    value = statistic(every)
    group_of = np.random.default_rng(seed).permutation(items) % groups
    without = np.array([statistic(every[group_of != group]) for group in range(groups)])
    error = float(np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum()))
    return Estimate(value, Interval(value - _NORMAL * error, value + _NORMAL * error))


def estimate_of_mean(
    values: Float[np.ndarray, " n"],
    units: Int64[np.ndarray, " n"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The mean, and a 95% interval that resamples units: values of one unit (one text's images) go together.

    Without `units` each value is its own. Raises DataError when there is no value.
    """
    if not len(values):
        raise DataError("there is nothing to average")
    own = np.arange(len(values)) if units is None else np.unique(units, return_inverse=True)[1].astype(np.int64)
    number = Number((Addend((Sample(np.asarray(values, dtype=np.float64), own),)),))
    (found,) = estimates([number], int(own.max()) + 1, resamples, seed)
    return found
