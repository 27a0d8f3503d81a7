"""Distillation: a student learns from a cross-encoder teacher's scores, made once and kept on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.core import fingerprint
from diptych.core.config import Part
from diptych.core.errors import ConfigError, DataError
from diptych.core.files import cache_folder, locked
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64
from diptych.data import views
from diptych.data.features import CaptionedImages, FeaturePairs, collect_captions
from diptych.data.readers import SourceOptions
from diptych.data.seen import read_seen
from diptych.losses.distillation import distillation_loss
from diptych.models import DualEncoder, load, require_cosine
from diptych.models.card import CardText
from diptych.models.cross_encoder import TrainedCrossEncoder, load_trained_cross_encoder
from diptych.training.batch_order import BatchRows
from diptych.training.settings import TrainingSettings

from .config import DataConfig, SideSettings, TrainConfig
from .dual_encoder import ANY_SOURCE, TrainReport, read_splits, train
from .pairing import Pairing

_FLUSH = 64  # pictures whose scores become durable together


@dataclass(frozen=True)
class DistillationSettings:
    """How much is learnt from the teacher, and about which pictures."""

    alpha: float = 0.5  # share of the teacher's loss; 0 is the plain loss alone
    temperature: float = 4.0  # of the teacher's log-likelihoods, in nats
    student_temperature: float = 0.05  # of the student's cosines
    mined: int = 5  # wrong pictures of each text that the student takes for the best
    drawn: int = 2  # wrong pictures of each text drawn at random, as its neighbours in a batch would be
    draw_seed: int = 0  # of these; apart from the run's seed, so that runs of other seeds find the scores made

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"distillation.alpha must be from 0 to 1, found {self.alpha}")
        if not (self.temperature > 0 and self.student_temperature > 0):
            raise ConfigError("distillation temperatures must be above 0")
        if self.mined < 0 or self.drawn < 0 or self.mined + self.drawn < 1:
            raise ConfigError("distillation needs at least one mined or drawn picture a text")


@dataclass(frozen=True)
class DistillConfig:
    """Everything that `diptych distill` needs besides teacher and student; its TOML twin is configs/distill.toml."""

    name: str
    seed: int = 0
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    loss: Part = field(default_factory=lambda: Part("info_nce", {"temperature": 0.05}))
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    fresh: bool = False  # the student's heads begin anew, as the source trains them; else they learn on
    compact: bool = False
    card: CardText = field(default_factory=CardText)

    def student(self, init: str) -> TrainConfig:
        """The same as a training config that stays on the towers of the model `init`.

        Its networks and heads are the starting point, or with `fresh` only what kinds they are.
        """
        tower = Part(f"model:{init}")
        image = text = SideSettings(tower)
        dim = 0
        if self.fresh:
            made = load(init).config
            image, text = (SideSettings(tower, side.network, side.head) for side in (made.image, made.text))
            dim = made.dim
        return TrainConfig(
            name=self.name,
            image=image,
            text=text,
            loss=self.loss,
            dim=dim,
            seed=self.seed,
            compact=self.compact,
            init="" if self.fresh else init,
            data=self.data,
            training=self.training,
            card=self.card,
        )


def distill(
    config: DistillConfig,
    teacher: str | Path,
    student: str,
    out: Path,
    *,
    source: str = "",
    options: SourceOptions = ANY_SOURCE,
    any_data: bool = False,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> TrainReport:
    """Teach `student` (a dual encoder: its towers stay, its heads learn on) what `teacher` knows of the pairs.

    The teacher's scores are made once and kept in `cache`; interrupted, both they and the training go on.

    Args:
        config: what to do.
        teacher: folder of a cross-encoder.
        student: name or folder of a dual encoder; it also mines the hard pictures.
        out: the run's folder; the model lands in `out/model`.
        source: the pairs; those that the teacher learnt from.
        options: how to read them.
        any_data: let the pairs differ from the teacher's.
        device: where the student trains and the teacher scores.
        cache: folder of features and scores; None is the user's.
        progress: told about scores and epochs.

    Raises DataError when the teacher learnt from other pairs: it would be asked about what it does not know.
    """
    spec = source or config.data.source
    if not spec:
        raise ConfigError("no data to distil on; pass --data SOURCE, or set data.source in the config")
    slow, fast = load_trained_cross_encoder(teacher, device=device), load(student)
    pairs, opened = read_splits(config.data, spec, options)
    root = cache or cache_folder()
    shown = collect_captions(
        pairs["train"],
        slow.image_tower,
        root / "features",
        config.data.selection((views.FULL,)),
        progress=progress,
    )
    lesson = TeacherLesson(config, slow, fast, shown, root / "teacher", any_data=any_data, progress=progress)
    report = train(
        config.student(student), out, pairs=pairs, device=device, cache=cache, lesson=lesson, progress=progress
    )
    return dataclasses.replace(report, skipped=(*opened.skipped, *report.skipped), notes=(*opened.notes, *report.notes))


class TeacherLesson:
    """A teacher's scores of each text's candidate pictures, and what a training step makes of them.

    Args:
        config: the settings.
        slow: the teacher.
        fast: the student as it starts, which mines the hard pictures.
        shown: the training pairs with the teacher's features.
        folder: where scores are kept.
        any_data: let the pairs differ from those the teacher learnt from.
        progress: told about the scores.
    """

    def __init__(
        self,
        config: DistillConfig,
        slow: TrainedCrossEncoder,
        fast: DualEncoder,
        shown: CaptionedImages,
        folder: Path,
        *,
        any_data: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        known = slow.config.training.get("data", {}).get("train_fingerprint")
        if not any_data and known != shown.fingerprint():
            raise DataError(
                f"the teacher {slow.name!r} learnt from other pairs (fingerprint {str(known)[:8]}, these have "
                f"{shown.fingerprint()[:8]}); give the same --data, with the same data settings, or add --any-data"
            )
        self.seen = [read_seen(slow.folder), read_seen(fast.folder)]
        require_cosine(fast, "mining its candidates")
        self._settings = config.distillation
        self._slow, self._fast, self._shown = slow, fast, shown
        self._folder, self._progress = folder, progress
        self.fingerprint = fingerprint.of_json(
            [slow.fingerprint, fast.fingerprint, dataclasses.asdict(config.distillation), shown.fingerprint()]
        )
        self._candidates: Int64[np.ndarray, "m c"] = np.zeros((0, 0), dtype=np.int64)
        self._scores: Float32[np.ndarray, "m c"] = np.zeros((0, 0), dtype=np.float32)

    def begin(self, training: FeaturePairs) -> None:
        """Choose every text's candidates by the student as it is, and have the teacher score them."""
        same = (training.ids, training.content) == (self._shown.ids, self._shown.content)
        if not same:
            raise DataError("teacher and student were given different pairs; use one source and one set of settings")
        if not self._settings.alpha:
            return  # nothing is learnt from the teacher, so it is not asked
        images = _embedded(self._fast.image_head, training.images[0])
        texts = _embedded(self._fast.text_head, training.texts)
        self._candidates = candidates(
            images,
            texts,
            training.image_owner,
            training.text_owner,
            mined=self._settings.mined,
            drawn=self._settings.drawn,
            seed=self._settings.draw_seed,
        )
        self._scores = teacher_scores(self._slow, self._shown, self._candidates, self._folder, self._progress)

    @property
    def share(self) -> float:
        """alpha: the loss is alpha * H(teacher, student) + (1 - alpha) * that of the config."""
        return self._settings.alpha

    def loss(self, module: Pairing, training: FeaturePairs, rows: BatchRows, texts: Tensor) -> Tensor:
        """H(teacher, student), a mean over the rows."""
        wanted = self._candidates[rows.text]
        pictures, place = np.unique(wanted, return_inverse=True)
        # any plain view: the teacher saw the picture whole
        view = int(torch.randint(min(2, len(training.images)), ()).item())
        images = module.image(torch.from_numpy(training.images[view][pictures]).to(texts.device))
        shown = images[torch.from_numpy(place.reshape(wanted.shape)).to(texts.device)]
        student = (shown * texts[:, None]).sum(-1)
        teacher = torch.from_numpy(self._scores[rows.text]).to(texts.device)
        return distillation_loss(
            student,
            teacher,
            temperature=self._settings.temperature,
            student_temperature=self._settings.student_temperature,
        )


def candidates(
    images: Float32[np.ndarray, "n d"],
    texts: Float32[np.ndarray, "m d"],
    image_owner: np.ndarray,
    text_owner: np.ndarray,
    *,
    mined: int,
    drawn: int,
    seed: int,
) -> Int64[np.ndarray, "m c"]:
    """Pictures of each text: a right one first, then the wrong ones nearest to it, then some drawn at random.

    A text whose record has several pictures gets the first of them. Raises DataError for too few pictures.
    """
    count = 1 + mined + drawn
    if len(images) - int(np.bincount(image_owner).max()) < mined + drawn:
        raise DataError(f"found {len(images)} pictures, too few for {mined + drawn} wrong ones a text; mine fewer")
    draw = np.random.default_rng(seed)
    found = np.empty((len(texts), count), dtype=np.int64)
    first = np.searchsorted(image_owner, np.arange(int(image_owner.max()) + 1))
    for start in range(0, len(texts), 1024):
        part = slice(start, start + 1024)
        nearness = texts[part] @ images.T
        own = text_owner[part, None] == image_owner
        nearness[own] = -np.inf
        nearest = np.argpartition(-nearness, mined, axis=1)[:, :mined]
        # a random order without the right ones and those that are there already
        order = draw.random(nearness.shape, dtype=np.float32)
        order[own] = np.inf
        np.put_along_axis(order, nearest, np.inf, axis=1)
        random = np.argpartition(order, drawn, axis=1)[:, :drawn]
        found[part] = np.concatenate([first[text_owner[part], None], nearest, random], axis=1)
    return found


def teacher_scores(
    slow: TrainedCrossEncoder,
    shown: CaptionedImages,
    wanted: Int64[np.ndarray, "m c"],
    folder: Path,
    progress: Progress = SILENT,
) -> Float32[np.ndarray, "m c"]:
    """The teacher's score of every text with its candidates, from the file of an earlier run as far as it goes.

    Picture by picture: its keys and values are made once for all texts that have it as a candidate. Of several
    processes one makes them, and the others wait for its file.
    """
    key = fingerprint.of_json([slow.fingerprint, shown.fingerprint(), fingerprint.of_bytes(wanted.tobytes())])
    path = folder / f"{key}.f32"
    with locked(path.with_suffix(".lock"), lambda: progress.say("waiting for the teacher's scores of another process")):
        return _filled(slow, shown, wanted, path, progress)


def _filled(
    slow: TrainedCrossEncoder, shown: CaptionedImages, wanted: Int64[np.ndarray, "m c"], path: Path, progress: Progress
) -> Float32[np.ndarray, "m c"]:
    if not path.exists() or path.stat().st_size != wanted.size * 4:
        np.full(wanted.shape, np.nan, dtype=np.float32).tofile(path)
    scores = np.memmap(path, dtype=np.float32, mode="r+", shape=wanted.shape)
    order = np.argsort(wanted, axis=None, kind="stable")
    edges = np.searchsorted(wanted.ravel()[order], np.arange(len(shown.images[0]) + 1))
    flat = scores.reshape(-1)
    left = [
        picture for picture in range(len(edges) - 1) if np.isnan(flat[order[edges[picture] : edges[picture + 1]]]).any()
    ]
    for number, picture in enumerate(progress.track(left, "teacher's scores", total=len(left))):
        places = order[edges[picture] : edges[picture + 1]]
        tokens = slow.fuse(shown.images[0][np.array([picture])])
        texts = [shown.captions[place // wanted.shape[1]] for place in places]
        flat[places] = slow.scores(tokens, texts)[:, 0]
        if number % _FLUSH == 0:
            scores.flush()
    scores.flush()
    return np.array(scores)


def _embedded(head: Any, rows: Any) -> Float32[np.ndarray, "n d"]:
    parts: Sequence[np.ndarray] = [
        head(rows[np.arange(start, min(len(rows), start + 1024))]) for start in range(0, len(rows), 1024)
    ]
    return np.concatenate(parts)
