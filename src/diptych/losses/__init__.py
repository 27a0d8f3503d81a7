"""Losses, one a file: each takes an `Embedded` batch of embeddings and says how wrong the space is.

A loss is registered by its name for configs (`@register.loss("info_nce")`); see `diptych.core.registry`. From Python
its class is here too: `diptych.losses.InfoNCE(temperature=0.05)`. `info_nce`, `max_hinge`, `sum_hinge` and `sigmoid`
are the usual ones; the others learn from classes, from labels of pairs (`cosent`,
`contrastive`, `pair_cross_entropy`), from a queue of earlier embeddings, or bring the two modalities together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .adversarial import AdversarialAlignment
    from .base import IMAGE, TEXT, Embedded, Loss, WrappedLoss
    from .class_aware_triplet import ClassAwareTriplet
    from .contrastive import Contrastive
    from .cosent import CoSENT
    from .distillation import distillation_loss
    from .info_nce import InfoNCE
    from .instance_discrimination import InstanceDiscrimination
    from .max_hinge import MaxHinge
    from .pair_cross_entropy import PairCrossEntropy
    from .sigmoid import Sigmoid
    from .sum_hinge import SumHinge
    from .supervised_contrast import SupervisedContrast

__all__ = [
    "IMAGE",
    "TEXT",
    "AdversarialAlignment",
    "ClassAwareTriplet",
    "CoSENT",
    "Contrastive",
    "Embedded",
    "InfoNCE",
    "InstanceDiscrimination",
    "Loss",
    "MaxHinge",
    "PairCrossEntropy",
    "Sigmoid",
    "SumHinge",
    "SupervisedContrast",
    "WrappedLoss",
    "distillation_loss",
]
__getattr__, __dir__ = lazy(__name__)
