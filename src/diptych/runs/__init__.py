"""From a config to a run: `train` reads a source, trains one of the kinds of models, and saves it with its record.

`run.py` holds what all kinds share and the table of kinds; `dual_encoder.py`, `cross_encoder.py`, `generator/` and
`distilled.py` say what is their own. `measuring.py` measures models, `classifying.py` classifies by words,
`relating.py` says whether two things are related, `reranking.py` fits a dual encoder and a cross-encoder to each
other, `using.py` re-ranks and generates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from diptych.inspection.zero_shot_report import ZeroShotReport

    from .classifying import classify, evaluate_zero_shot, label_scorer
    from .config import DataConfig, DualEncoderConfig, SideSettings, TrainConfig
    from .cross_encoder import CrossEncoderConfig
    from .distilled import DistilledConfig, distill
    from .few_shot import FewShots, compare_zero_shot
    from .generator import GeneratorConfig
    from .measuring import as_encoder, compare, evaluate, measure_model
    from .reading import read_splits
    from .relating import Relations, judge_pairs, pair_scorer, relate
    from .run import KINDS, Run, read_config, train
    from .trained import forget
    from .using import generate, rerank

__all__ = [
    "KINDS",
    "CrossEncoderConfig",
    "DataConfig",
    "DistilledConfig",
    "DualEncoderConfig",
    "FewShots",
    "GeneratorConfig",
    "Relations",
    "Run",
    "SideSettings",
    "TrainConfig",
    "ZeroShotReport",
    "as_encoder",
    "classify",
    "compare",
    "compare_zero_shot",
    "distill",
    "evaluate",
    "evaluate_zero_shot",
    "forget",
    "generate",
    "judge_pairs",
    "label_scorer",
    "measure_model",
    "pair_scorer",
    "read_config",
    "read_splits",
    "relate",
    "rerank",
    "train",
]
__getattr__, __dir__ = lazy(__name__)
