"""Distillation: a dual encoder learns from the scores of a cross-encoder, or of a larger dual encoder.

A cross-encoder's scores of chosen candidates are made once and kept on disk. Of a dual encoder (any address: "hf:...",
"open_clip:...") the towers' features are cached, and every batch is scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.core.notes import cut_note
from diptych.data import views
from diptych.data.features import FeaturePairs
from diptych.data.seen import Seen
from diptych.models import DualEncoder, load
from diptych.models.cross_encoder import load_trained_cross_encoder
from diptych.models.folder import model_kind
from diptych.training.affinity import DualTeacher, TeacherAffinity
from diptych.training.distillation import DistillationSettings, TeacherLoss
from diptych.training.two_sides import TwoSides

from .before_after import BEFORE
from .config import DualEncoderConfig, SideSettings, TrainConfig
from .dual_encoder import DualEncoderRecipe
from .reading import AnySource, Splits
from .run import Run, RunContext, read_config, train
from .text_distilled import TextDistilledConfig

CROSS_ENCODER, BLIP = "cross", "blip:"  # kind of a saved cross-encoder; prefix of another library's


@dataclass(frozen=True, kw_only=True)
class DistilledConfig(TrainConfig):
    """Everything that distillation needs; configs/distill.toml is one in TOML."""

    kind: str = "distilled"
    teacher: str = ""  # folder of a cross-encoder; or a dual encoder's name, folder or address
    # a dual encoder: its towers stay frozen, its heads learn on; of a cross-encoder it mines the hard images. Or, where
    # the teacher is a dual encoder, a student of these parts in its place, which starts from scratch
    student: str = "base"
    image: SideSettings | None = None
    text: SideSettings | None = None
    dim: int = 0  # of a student of these parts; 0: that of the teacher
    any_data: bool = False  # allow other pairs than those that a cross-encoder was trained on
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    loss: Part = field(default_factory=lambda: Part("info_nce", {"temperature": 0.05}))  # beside the teacher's
    fresh: bool = False  # the student's heads start from scratch; otherwise from their weights
    compact: bool = False  # store the heads in 8 bits: half the size, for models that ship

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.image is None) != (self.text is None):
            raise ConfigError("a student of its own parts needs both [image] and [text]; give both, or name a student")
        if self.dim and self.image is None:
            raise ConfigError("dim is of a student of its own parts, with [image] and [text]; leave it out")
        if self.teacher and self.is_of_cross_encoder:
            if self.data.images is not None:
                raise ConfigError("a cross-encoder scores images without augmentation; leave out [data.images]")
            if self.image is not None:
                raise ConfigError(
                    "the student of a cross-encoder also finds hard images, so it must be a trained model; name it as "
                    "student (--model) in place of [image] and [text]"
                )

    @property
    def is_of_cross_encoder(self) -> bool:
        """Whether the teacher is a cross-encoder; else it is a dual encoder."""
        return is_cross_encoder(self.teacher)

    def of_student(self) -> DualEncoderConfig:
        """The same as a dual encoder's config that stays on the towers of the student.

        Its networks and heads are the starting point, or with `fresh` only their kinds are kept. A student of its own
        parts starts from scratch.
        """
        if self.image is not None and self.text is not None:
            dim = self.dim or load(self.teacher).dim
            return self._as_dual_encoder(self.image, self.text, dim, "")
        tower = Part(f"model:{self.student}")
        image = text = SideSettings(tower)
        dim = 0
        if self.fresh:
            made = load(self.student).config
            image, text = (SideSettings(tower, side.network, side.head) for side in (made.image, made.text))
            dim = made.dim
        return self._as_dual_encoder(image, text, dim, "" if self.fresh else self.student)

    def _as_dual_encoder(self, image: SideSettings, text: SideSettings, dim: int, init: str) -> DualEncoderConfig:
        return DualEncoderConfig(
            name=self.name,
            image=image,
            text=text,
            loss=self.loss,
            dim=dim,
            seed=self.seed,
            compact=self.compact,
            init=init,
            data=self.data,
            training=self.training,
            card=self.card,
        )


def is_cross_encoder(address: str) -> bool:
    """Whether this is the folder of a cross-encoder, or the address of another library's."""
    return address.startswith(BLIP) or model_kind(Path(address).expanduser()) == CROSS_ENCODER


class DistilledRecipe(DualEncoderRecipe):
    """A dual encoder with the loss of a teacher beside its own."""

    def __init__(self, config: DistilledConfig, place: RunContext) -> None:
        if not config.teacher:
            raise ConfigError("no teacher to distil from; name one as teacher (--teacher, or --reranker)")
        self._distilled = config
        self._cross: TeacherLoss | None = None
        self._dual: DualTeacher | None = None
        if config.is_of_cross_encoder:
            teacher = load_trained_cross_encoder(config.teacher, device=place.device, graphs=False)
            self._cross = TeacherLoss(
                config.distillation, teacher, load(config.student), place.cache / "teacher", place.progress
            )
        else:
            self._dual = DualTeacher(load(config.teacher, device=place.device), place.progress)
        super().__init__(config.of_student(), place)
        self.extra_loss = self._cross

    def _built(self, seed: int, classes: int) -> TwoSides:
        module = super()._built(seed, classes)
        if self._dual is not None and module.loss is not None:
            module.loss = TeacherAffinity(module.loss, self._dual.logits, self._distilled.distillation)
        return module

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """The features of both models, and the teacher's scores or embeddings of the training pairs."""
        place, selection = self.place, self.config.data.selection((views.FULL,))
        if self._cross is not None:
            self._cross.read(splits.train, place.features, selection, any_data=self._distilled.any_data)
        if self._dual is not None:
            read = self._dual.read(splits.train, place.features, selection)
            tower = self._dual.model.text_tower
            what = "training texts of the teacher"
            place.notes.extend(cut_note(read.captions, tower.count_tokens, tower.max_tokens, what))
        training, validation = super().collect(splits)
        if self._dual is not None:
            self._dual.check(training)
        return training, validation

    def fingerprints(self) -> dict[str, str]:
        """Also of a dual encoder as the teacher."""
        return super().fingerprints() | ({"teacher": self._dual.fingerprint} if self._dual else {})

    def starts(self) -> dict[str, DualEncoder]:
        """The teacher, where it is a dual encoder, and the student as it was."""
        teacher = {"teacher": self._dual.model} if self._dual else {}
        if self._distilled.image is not None:
            return teacher
        return teacher | {BEFORE: load(self._distilled.student, device=self.place.device)}

    def seen(self) -> Seen:
        """Also the records that a dual encoder as the teacher was trained on."""
        return super().seen().after(*(self._dual.seen if self._dual else []))


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
    """Train a dual encoder (the student) on the scores of a teacher: a cross-encoder, or a larger dual encoder.

        run = diptych.distill("configs/distill.toml", "flickr8k/", teacher="runs/diptych-cross-encoder/model")
        run = diptych.distill("configs/finetune/distil.toml", "flickr8k/", teacher="hf:google/siglip2-base-patch16-224")

    What the teacher computes is made once and kept in the cache; an interrupted run continues, scores included.

    Args:
        config: as of `diptych.train`, of the kind "distilled".
        source: the pairs; of a cross-encoder, those that it was trained on.
        teacher: folder of the cross-encoder, or name, folder or address of the dual encoder; overrides the config's.
        student: name or folder of the dual encoder; overrides the config's.
        out: the run's folder; None is runs/NAME.
        any_data: allow other pairs than those that a cross-encoder was trained on.
        seed: overrides the config's.
        overrides: of settings, as "section.key=value".
        how: options, device, cache, fresh and progress, as of `diptych.train`.

    Raises DataError when the teacher was trained on other pairs, otherwise as `diptych.train`.
    """
    settings = read_config(config, overrides, seed, DistilledConfig.kind)
    if not isinstance(settings, DistilledConfig | TextDistilledConfig):
        raise ConfigError(
            f'expected a config of kind "distilled" or "distilled-text", found {settings.kind!r}; train it with '
            "diptych.train"
        )
    given: dict[str, Any] = {"teacher": str(teacher), "student": str(student), "any_data": any_data}
    if isinstance(settings, TextDistilledConfig) and (student or any_data):
        raise ConfigError(
            "the student of a distilled text side is [text] of the config; leave out student and any_data"
        )
    settings = dataclasses.replace(settings, **{name: value for name, value in given.items() if value})
    return train(settings, source, out, **how)
