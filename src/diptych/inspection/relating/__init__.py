"""Whether two things are related: an image and a text, two texts, or two images.

`scoring.py` gives each pair its scores, `cross_scoring.py` and `text_cross_scoring.py` with a cross-encoder.
`fitting.py` fits a calibration on the records of a source or on labelled pairs, `judges.py` keeps it in a file and
turns scores into a probability, `answers.py` puts these together.
"""

from __future__ import annotations

from diptych.evaluation.calibrations import FILE, Calibrations, read_calibrations

from .answers import Relation, judged
from .cross_scoring import CrossScorer
from .fitting import fit_calibrations, fit_labelled
from .judges import Judge
from .scoring import DualScorer, PairScorer
from .text_cross_scoring import TextCrossScorer

__all__ = [
    "FILE",
    "Calibrations",
    "CrossScorer",
    "DualScorer",
    "Judge",
    "PairScorer",
    "Relation",
    "TextCrossScorer",
    "fit_calibrations",
    "fit_labelled",
    "judged",
    "read_calibrations",
]
