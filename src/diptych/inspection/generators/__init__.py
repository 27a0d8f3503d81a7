"""Generated images measured, audited and shown: what a generator makes of texts, by one rule for real ones too.

report, _ = measure_generated(open_generator("runs/xmc/model"), pairs, MeasuringModels(judge=load("runs/judge/model")))
"""

from __future__ import annotations

from .extractors import Extractor, Features, MapExtractor, open_extractor
from .generator import Generator, GivenImages, generate_all, open_generator
from .generator_report import GeneratorReport, Measure, read_generator_report
from .measure import About, DrawnImages, MeasuringModels, measure_generated
from .measurement import MeasureSettings
from .prompts import choose_splits

__all__ = [
    "About",
    "DrawnImages",
    "Extractor",
    "Features",
    "Generator",
    "GeneratorReport",
    "GivenImages",
    "MapExtractor",
    "Measure",
    "MeasureSettings",
    "MeasuringModels",
    "choose_splits",
    "generate_all",
    "measure_generated",
    "open_extractor",
    "open_generator",
    "read_generator_report",
]
