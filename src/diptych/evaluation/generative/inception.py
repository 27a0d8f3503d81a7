"""The inception score: are the pictures of a clear class each, and of many classes together (Salimans et al. 2016)."""

from __future__ import annotations

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float

from .checks import features_of


def inception_score(probabilities: Float[np.ndarray, "n c"]) -> float:
    """exp(mean KL(p(class | picture) || p(class))), from 1 (all alike, or all unclear) to the number of classes.

    It looks at generated pictures only: one clear picture a class scores best, however it looks. Of all pictures
    at once, not the mean of ten parts as in the paper; a class of probability 0 adds 0. Called IS only with
    Inception's classes.

    Raises DataError for rows that are no probabilities.
    """
    p = features_of(probabilities, "class probabilities", 1)
    if p.min() < 0 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-4):
        raise DataError("expected probabilities: each row from 0 up, with the sum 1")
    marginal = p.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(marginal)), 0.0)
    return float(np.exp(terms.sum(axis=1).mean()))
