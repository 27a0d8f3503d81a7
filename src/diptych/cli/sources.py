"""What the commands share that read a source of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diptych.data.readers import Source, SourceOptions

if TYPE_CHECKING:
    from diptych.data.seen import Chosen, Learner
    from diptych.models import DualEncoder
    from diptych.models.cross_encoder import TrainedCrossEncoder

    from .shared import Common

Reading = Annotated[SourceOptions, Parameter(name="*", group="How the source is read")]


def learners(models: Sequence[DualEncoder | TrainedCrossEncoder]) -> list[Learner]:
    """The models as those who ask which records they were trained on see them."""
    from diptych.data.seen import learner_of

    return [learner_of(model.name, model.folder, model.config.training) for model in models]


def not_trained_on(source: Source, models: Sequence[DualEncoder | TrainedCrossEncoder], common: Common) -> Chosen:
    """The records of a source to measure these models on: see `diptych.data.seen.untrained`."""
    from diptych.data.seen import untrained

    return untrained(source, learners(models), progress=common.progress())
