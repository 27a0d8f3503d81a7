"""Generated pictures measured, audited and shown: what a generator makes of texts, by one rule for real ones too.

outcome, _ = measure_generated(open_generator("runs/xmc/model"), pairs, Tools(judge=load("runs/judge/model")))
"""

from __future__ import annotations

from .extractors import Extractor, MapExtractor, open_extractor
from .generator import Generator, GivenPictures, generate_all, open_generator
from .held_out import choose_splits
from .job import MeasureSettings
from .measure import About, Looked, Tools, measure_generated
from .outcome import Measure, Outcome, read_outcome

__all__ = [
    "About",
    "Extractor",
    "Generator",
    "GivenPictures",
    "Looked",
    "MapExtractor",
    "Measure",
    "MeasureSettings",
    "Outcome",
    "Tools",
    "choose_splits",
    "generate_all",
    "measure_generated",
    "open_extractor",
    "open_generator",
    "read_outcome",
]
