"""A mean over pictures with its bootstrap interval, by the same bootstrap as everywhere here."""

from __future__ import annotations

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Int64

from ..bootstrap import Number, Sample, Term
from ..direction import Estimate, estimates


def estimate_of_mean(
    values: Float[np.ndarray, " n"],
    units: Int64[np.ndarray, " n"] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The mean, and a 95% interval that resamples units: values of one unit (one text's pictures) go together.

    Without `units` each value is its own. Raises DataError when there is no value.
    """
    if not len(values):
        raise DataError("there is nothing to average")
    own = np.arange(len(values)) if units is None else np.unique(units, return_inverse=True)[1].astype(np.int64)
    number = Number((Term((Sample(np.asarray(values, dtype=np.float64), own),)),))
    (found,) = estimates([number], int(own.max()) + 1, resamples, seed)
    return found
