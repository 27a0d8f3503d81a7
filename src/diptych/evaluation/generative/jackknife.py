"""Intervals for numbers that are no means, such as a distance between two sets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Int64

from ..bootstrap import Interval
from ..direction import Estimate

_NORMAL = 1.959963984540054  # 97.5% of a Gaussian


def grouped_jackknife(
    statistic: Callable[[Int64[np.ndarray, " kept"]], float], items: int, *, groups: int = 10, seed: int = 0
) -> Estimate:
    """`statistic` of all items, and value ± 1.96 SE with SE^2 = (g - 1) / g · sum (without group - their mean)^2.

    The delete-a-group jackknife. A bootstrap would repeat pictures, which distances between sets and nearest
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
