"""Diptych: one space for images and texts.

    model = diptych.load("base")
    model.similarity(images=model.encode_images(["a.jpg", "b.jpg"]), texts=model.encode_texts("ein Hund am Strand"))

`load` a model; search a `Library`; `train`, `distill`, `evaluate` and `compare` models; `classify` images by words;
say whether two things `relate`; `rerank` hits with a cross-encoder; `generate` images. `open_source` reads any
collection of `Pair`s; `register` adds a part of one's own.
`losses`, `encoders`, `training` and `metrics` hold the parts themselves. All of it is imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core import telemetry
from diptych.core.lazy import lazy

telemetry.switch_off()  # here, because what it tells must be there before any other package is imported

if TYPE_CHECKING:
    from diptych import encoders, losses, training
    from diptych.core.errors import ConfigError, DataError, DiptychError, LibraryError, LimitError, ModelError
    from diptych.core.protocols import CrossEncoder
    from diptych.core.registry import register
    from diptych.core.types import Hit, Pair, Role, Text
    from diptych.core.version import __version__
    from diptych.data.readers import SourceOptions, open_source
    from diptych.evaluation import metrics
    from diptych.library import Library
    from diptych.models import DualEncoder, load
    from diptych.runs.classifying import classify, evaluate_zero_shot
    from diptych.runs.distilled import distill
    from diptych.runs.measuring import compare, evaluate
    from diptych.runs.relating import relate
    from diptych.runs.run import Run, train
    from diptych.runs.using import generate, rerank
    from diptych.synthesis import SavedGenerator as Generator

__all__ = [
    "ConfigError",
    "CrossEncoder",
    "DataError",
    "DiptychError",
    "DualEncoder",
    "Generator",
    "Hit",
    "Library",
    "LibraryError",
    "LimitError",
    "ModelError",
    "Pair",
    "Role",
    "Run",
    "SourceOptions",
    "Text",
    "__version__",
    "classify",
    "compare",
    "distill",
    "encoders",
    "evaluate",
    "evaluate_zero_shot",
    "generate",
    "load",
    "losses",
    "metrics",
    "open_source",
    "register",
    "relate",
    "rerank",
    "train",
    "training",
]
__getattr__, __dir__ = lazy(__name__)
