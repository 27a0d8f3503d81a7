"""Training: one loop for every method.

`Trainer` fits any module to an objective: `Direct` for a loss that is a mean over the rows, `Contrastive` for one
that compares all rows of a batch. A batch order says which rows meet in which batch (`batch_order`); images are
cached rows, or are decoded and augmented while training (`ImageLoader`). Everything is a function of seed and epoch,
and checkpoints hold the rest, so a killed run resumes to bit-identical weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .batch_order import BatchOrder, BatchRows, GroupedBatches, HardNegatives, MixedBatches, PairShares, TextBatches
    from .distillation import DistillationSettings, TeacherLoss
    from .divergence import DivergedError
    from .engine import FitResult, Trainer
    from .objectives import Contrastive, Direct, Objective
    from .online_images import ImageLoader
    from .settings import TrainingSettings
    from .two_sides import TwoSides

__all__ = [
    "BatchOrder",
    "BatchRows",
    "Contrastive",
    "Direct",
    "DistillationSettings",
    "DivergedError",
    "FitResult",
    "GroupedBatches",
    "HardNegatives",
    "ImageLoader",
    "MixedBatches",
    "Objective",
    "PairShares",
    "TeacherLoss",
    "TextBatches",
    "Trainer",
    "TrainingSettings",
    "TwoSides",
]
__getattr__, __dir__ = lazy(__name__)
