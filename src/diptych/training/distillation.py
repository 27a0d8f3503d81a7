"""A teacher's scores as an extra loss: a cross-encoder scores each text's candidate images once, and they are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import fingerprint
from diptych.core.checks import positive
from diptych.core.errors import ConfigError, DataError
from diptych.core.files import locked
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float, Float32, Int64
from diptych.core.types import Pair
from diptych.data.features import CaptionedImages, FeaturePairs, Selection, collect_captions
from diptych.data.seen import read_seen
from diptych.losses import distillation_loss
from diptych.models import DualEncoder, require_cosine
from diptych.models.cross_encoder import TrainedCrossEncoder
from diptych.training.batch_order import BatchRows

_FLUSH = 64  # images whose scores become durable together
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class DistillationSettings:
    """How much is learnt from the teacher, and, of a cross-encoder, about which images.

    A dual encoder as the teacher scores the images and texts of each batch with each other; `mined`, `drawn` and
    `draw_seed` are of cross-encoders alone.
    """

    alpha: float = 0.5  # share of the teacher's loss; 0 is the plain loss alone
    # of the teacher's log-likelihoods, in nats; those of a dual encoder are its cosines times its own scale
    temperature: float = 4.0
    student_temperature: float = 0.05  # of the student's cosines
    mined: int = 5  # wrong images of each text that the student scores highest
    drawn: int = 2  # wrong images of each text drawn at random, like the others of a random batch
    draw_seed: int = 0  # of these; apart from the run's seed, so that runs of other seeds find the scores made

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"distillation.alpha must be from 0 to 1, found {self.alpha}")
        positive("distillation.temperature", self.temperature)
        positive("distillation.student_temperature", self.student_temperature)
        if self.mined < 0 or self.drawn < 0 or self.mined + self.drawn < 1:
            raise ConfigError("distillation needs at least one mined or drawn image a text")


class TeacherLoss:
    """A loss beside the config's own: the student's scores should have the distribution of the teacher's.

    Args:
        settings: how much, and which images.
        teacher: the cross-encoder.
        student: the dual encoder as it starts, which mines the hard images.
        folder: where scores are kept.
        progress: told about the scores.
    """

    def __init__(
        self,
        settings: DistillationSettings,
        teacher: TrainedCrossEncoder,
        student: DualEncoder,
        folder: Path,
        progress: Progress = SILENT,
    ) -> None:
        require_cosine(student, "mining its candidates")
        self.seen = [read_seen(teacher.folder), read_seen(student.folder)]
        self._settings = settings
        self._teacher, self._student = teacher, student
        self._folder, self._progress = folder, progress
        self._captioned: CaptionedImages | None = None
        self._candidates: Int64[np.ndarray, "m c"] = np.zeros((0, 0), dtype=np.int64)
        self._scores: Float32[np.ndarray, "m c"] = np.zeros((0, 0), dtype=np.float32)

    def read(self, pairs: Sequence[Pair], root: Path, selection: Selection, *, any_data: bool = False) -> None:
        """Take the training pairs with the teacher's features of their images.

        Raises DataError for other pairs than the teacher was trained on, unless `any_data` allows them.
        """
        captioned = collect_captions(pairs, self._teacher.image_tower, root, selection, progress=self._progress)
        known = self._teacher.config.training.get("data", {}).get("train_fingerprint")
        if not any_data and known != captioned.fingerprint():
            raise DataError(
                f"the teacher {self._teacher.name!r} was trained on other pairs (fingerprint {str(known)[:8]}, these "
                f"have {captioned.fingerprint()[:8]}); give the same source, with the same data settings, or set "
                "any_data = true (--any-data)"
            )
        self._captioned = captioned

    @property
    def fingerprint(self) -> str:
        """Of both models, the settings and the pairs; a resumed run must have the same."""
        pairs = self._captioned.fingerprint() if self._captioned else ""
        settings = dataclasses.asdict(self._settings)
        return fingerprint.of_json([self._teacher.fingerprint, self._student.fingerprint, settings, pairs])

    def begin(self, training: FeaturePairs) -> None:
        """Choose every text's candidates by the student as it is, and have the teacher score them."""
        captioned = self._captioned
        if captioned is None or (training.ids, training.content) != (captioned.ids, captioned.content):
            raise DataError("teacher and student were given different pairs; use one source and one set of settings")
        if not self._settings.alpha:
            return  # nothing is learnt from the teacher, so it is not asked
        self._candidates = candidates(
            embedded_rows(self._student.image_head, training.images[0]),
            embedded_rows(self._student.text_head, training.texts),
            training.image_owner,
            training.text_owner,
            mined=self._settings.mined,
            drawn=self._settings.drawn,
            seed=self._settings.draw_seed,
        )
        self._scores = teacher_scores(self._teacher, captioned, self._candidates, self._folder, self._progress)

    @property
    def share(self) -> float:
        """alpha: the loss is alpha * H(teacher, student) + (1 - alpha) * that of the config."""
        return self._settings.alpha

    def loss(
        self, image: nn.Module, training: FeaturePairs, rows: BatchRows, texts: Float[Tensor, "b d"]
    ) -> Float[Tensor, ""]:
        """H(teacher, student), a mean over the rows.

        Args:
            image: the image side: a tower's rows to embeddings.
            training: all training pairs.
            rows: the batch.
            texts: embeddings of its texts.
        """
        wanted = self._candidates[rows.text]
        distinct, place = np.unique(wanted, return_inverse=True)
        # any plain view: the teacher saw the image whole
        view = int(torch.randint(min(2, len(training.images)), ()).item())
        embedded = image(torch.from_numpy(training.images[view][distinct]).to(texts.device))
        shown = embedded[torch.from_numpy(place.reshape(wanted.shape)).to(texts.device)]
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
    """Images of each text: a right one first, then the wrong ones nearest to it, then some drawn at random.

    A text whose record has several images gets the first of them. Raises DataError for too few images.
    """
    count = 1 + mined + drawn
    if len(images) - int(np.bincount(image_owner).max()) < mined + drawn:
        raise DataError(f"found {len(images)} images, too few for {mined + drawn} wrong ones a text; mine fewer")
    draw = np.random.default_rng(seed)
    found = np.empty((len(texts), count), dtype=np.int64)
    first = np.searchsorted(image_owner, np.arange(int(image_owner.max()) + 1))
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        scores = texts[part] @ images.T
        own = text_owner[part, None] == image_owner
        scores[own] = -np.inf
        hardest = np.argpartition(-scores, mined, axis=1)[:, :mined]
        # a random order without the right ones and those that are chosen already
        order = draw.random(scores.shape, dtype=np.float32)
        order[own] = np.inf
        np.put_along_axis(order, hardest, np.inf, axis=1)
        random = np.argpartition(order, drawn, axis=1)[:, :drawn]
        found[part] = np.concatenate([first[text_owner[part], None], hardest, random], axis=1)
    return found


def teacher_scores(
    teacher: TrainedCrossEncoder,
    captioned: CaptionedImages,
    wanted: Int64[np.ndarray, "m c"],
    folder: Path,
    progress: Progress = SILENT,
) -> Float32[np.ndarray, "m c"]:
    """The teacher's score of every text with its candidates, from the file of an earlier run as far as it goes.

    Image by image: its keys and values are computed once for all texts that have it as a candidate. Of several
    processes one computes them, and the others wait for its file.
    """
    key = fingerprint.of_json([teacher.fingerprint, captioned.fingerprint(), fingerprint.of_bytes(wanted.tobytes())])
    path = folder / f"{key}.f32"
    with locked(path.with_suffix(".lock"), lambda: progress.say("waiting for the teacher's scores of another process")):
        return _filled(teacher, captioned, wanted, path, progress)


def _filled(
    teacher: TrainedCrossEncoder,
    captioned: CaptionedImages,
    wanted: Int64[np.ndarray, "m c"],
    path: Path,
    progress: Progress,
) -> Float32[np.ndarray, "m c"]:
    if not path.exists() or path.stat().st_size != wanted.size * 4:
        np.full(wanted.shape, np.nan, dtype=np.float32).tofile(path)
    scores = np.memmap(path, dtype=np.float32, mode="r+", shape=wanted.shape)
    order = np.argsort(wanted, axis=None, kind="stable")
    edges = np.searchsorted(wanted.ravel()[order], np.arange(len(captioned.images[0]) + 1))
    flat = scores.reshape(-1)
    left = [image for image in range(len(edges) - 1) if np.isnan(flat[order[edges[image] : edges[image + 1]]]).any()]
    for number, image in enumerate(progress.track(left, "teacher's scores", total=len(left))):
        places = order[edges[image] : edges[image + 1]]
        tokens = teacher.fuse(captioned.images[0][np.array([image])])
        texts = [captioned.captions[place // wanted.shape[1]] for place in places]
        flat[places] = teacher.scores(tokens, texts)[:, 0]
        if number % _FLUSH == 0:
            scores.flush()
    scores.flush()
    return np.array(scores)


def embedded_rows(head: Any, rows: Any) -> Float32[np.ndarray, "n d"]:
    """Embeddings of a tower's rows by a head, some rows at a time."""
    starts = range(0, len(rows), _ROWS_AT_ONCE)
    parts: Sequence[np.ndarray] = [
        head(rows[np.arange(start, min(len(rows), start + _ROWS_AT_ONCE))]) for start in starts
    ]
    return np.concatenate(parts)
