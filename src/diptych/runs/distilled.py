"""Distillation: a dual encoder learns from a cross-encoder's scores, which are made once and kept on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.data import views
from diptych.data.features import FeaturePairs, collect_captions
from diptych.models import load
from diptych.models.cross_encoder import load_trained_cross_encoder
from diptych.training.distillation import DistillationSettings, TeacherLoss

from .config import DualEncoderConfig, SideSettings, TrainConfig
from .dual_encoder import DualEncoderRecipe
from .reading import AnySource, Splits
from .run import Run, RunContext, read_config, train


@dataclass(frozen=True, kw_only=True)
class DistilledConfig(TrainConfig):
    """Everything that distillation needs; configs/distill.toml is one in TOML."""

    kind: str = "distilled"
    teacher: str = ""  # folder of a cross-encoder
    student: str = "base"  # a dual encoder: its towers stay frozen, its heads learn on; it mines the hard images
    any_data: bool = False  # allow other pairs than those that the teacher was trained on
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    loss: Part = field(default_factory=lambda: Part("info_nce", {"temperature": 0.05}))
    fresh: bool = False  # the student's heads start from scratch; otherwise from their weights
    compact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.images is not None:
            raise ConfigError("the teacher's scores are of images without augmentation; leave out [data.images]")

    def of_student(self) -> DualEncoderConfig:
        """The same as a dual encoder's config that stays on the towers of the student.

        Its networks and heads are the starting point, or with `fresh` only their kinds are kept.
        """
        tower = Part(f"model:{self.student}")
        image = text = SideSettings(tower)
        dim = 0
        if self.fresh:
            made = load(self.student).config
            image, text = (SideSettings(tower, side.network, side.head) for side in (made.image, made.text))
            dim = made.dim
        return DualEncoderConfig(
            name=self.name,
            image=image,
            text=text,
            loss=self.loss,
            dim=dim,
            seed=self.seed,
            compact=self.compact,
            init="" if self.fresh else self.student,
            data=self.data,
            training=self.training,
            card=self.card,
        )


class DistilledRecipe(DualEncoderRecipe):
    """A dual encoder with the loss of a teacher beside its own."""

    def __init__(self, config: DistilledConfig, place: RunContext) -> None:
        if not config.teacher:
            raise ConfigError("no teacher to distil from; name the folder of a cross-encoder as teacher (--reranker)")
        self._any_data = config.any_data
        self._teacher = load_trained_cross_encoder(config.teacher, device=place.device)
        super().__init__(config.of_student(), place)
        self._teacher_loss = self.extra_loss = TeacherLoss(
            config.distillation, self._teacher, load(config.student), place.cache / "teacher", place.progress
        )

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """The features of both models, and the teacher's scores of the training pairs."""
        tower, place = self._teacher.image_tower, self.place
        selection = self.config.data.selection((views.FULL,))
        captioned = collect_captions(splits.train, tower, place.features, selection, progress=place.progress)
        self._teacher_loss.read(captioned, any_data=self._any_data)
        return super().collect(splits)


def distill(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    source: AnySource | None = None,
    teacher: str | Path = "",
    student: str | Path = "",
    out: str | Path | None = None,
    *,
    any_data: bool = False,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    **how: Any,
) -> Run:
    """Train a dual encoder (the student) on the scores of a cross-encoder (the teacher).

        run = diptych.distill("configs/distill.toml", "flickr8k/", teacher="runs/diptych-cross-encoder/model")

    The teacher's scores are made once and kept in the cache; an interrupted run continues, scores included.

    Args:
        config: as of `diptych.train`, of the kind "distilled".
        source: the pairs; those that the teacher was trained on.
        teacher: folder of the cross-encoder; overrides the config's.
        student: name or folder of the dual encoder; overrides the config's.
        out: the run's folder; None is runs/NAME.
        any_data: allow other pairs than those that the teacher was trained on.
        seed: overrides the config's.
        overrides: of settings, as "section.key=value".
        how: options, device, cache, fresh and progress, as of `diptych.train`.

    Raises DataError when the teacher was trained on other pairs, otherwise as `diptych.train`.
    """
    settings = read_config(config, overrides, seed, DistilledConfig.kind)
    if not isinstance(settings, DistilledConfig):
        raise ConfigError(
            f'expected a config of kind "distilled", found {settings.kind!r}; train it with diptych.train'
        )
    given: dict[str, Any] = {"teacher": str(teacher), "student": str(student), "any_data": any_data}
    settings = dataclasses.replace(settings, **{name: value for name, value in given.items() if value})
    return train(settings, source, out, **how)
