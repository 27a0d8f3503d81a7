"""A dual encoder as the teacher of a smaller one: within a batch, each image's scores with all texts, and the reverse.

The student's distribution over the batch should be the teacher's, both ways. Source: affinity mimicking in TinyCLIP
(Wu et al. 2023, arXiv 2309.12314), section 3.1. Dimensions, towers and preprocessing of both may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float, Float32, Int
from diptych.core.types import Pair
from diptych.data.features import FeaturePairs, Selection, collect
from diptych.data.seen import Seen, read_seen
from diptych.losses import Embedded, Loss, WrappedLoss, distillation_loss
from diptych.models import DualEncoder, require_cosine

from .distillation import DistillationSettings, embedded_rows

USUAL_SCALE = 20.0  # of a teacher that keeps no temperature: 1 / 0.05, where InfoNCE starts here


class DualTeacher:
    """A dual encoder's embeddings of all training pairs; the features of its towers are cached.

    Args:
        model: the teacher.
        progress: told about its features.
    """

    def __init__(self, model: DualEncoder, progress: Progress = SILENT) -> None:
        require_cosine(model, "learning from its scores")
        self.model = model
        self.scale = model.cosine_scale or USUAL_SCALE
        self._progress = progress
        self._images: Float32[np.ndarray, "n d"] = np.zeros((0, 0), dtype=np.float32)
        self._texts: Float32[np.ndarray, "m d"] = np.zeros((0, 0), dtype=np.float32)
        self._content = ""
        if model.cosine_scale is None:
            progress.say(f"{model.name} keeps no temperature; its cosines are multiplied by {USUAL_SCALE:g}")

    @property
    def fingerprint(self) -> str:
        """Of the model and its scale; a resumed run must have the same."""
        return fingerprint.of_json([self.model.fingerprint, self.scale])

    @property
    def seen(self) -> list[Seen | None]:
        """The records that the teacher was trained on, where it names them."""
        return [read_seen(self.model.folder)]

    def read(self, pairs: Sequence[Pair], root: Path, selection: Selection) -> FeaturePairs:
        """Embed the training pairs: images whole, whatever views the student gets."""
        model = self.model
        found = collect(pairs, model.image_tower, model.text_tower, root, selection, progress=self._progress)
        self._images = embedded_rows(model.image_head, found.images[0])
        self._texts = embedded_rows(model.text_head, found.texts)
        self._content = found.content
        return found

    def check(self, training: FeaturePairs) -> None:
        """Raise DataError where the student's training pairs are others than the teacher's."""
        if training.content != self._content:
            raise DataError("teacher and student were given different pairs; use one source and one set of settings")

    def logits(self, rows: Int[Tensor, "b 2"]) -> Float[Tensor, "b b"]:
        """Scaled cosines of the images with the texts of these rows, by their numbers among the training pairs."""
        images, texts = (
            torch.from_numpy(side[number.cpu().numpy()]).to(rows.device)
            for side, number in zip((self._images, self._texts), rows.T, strict=True)
        )
        return self.scale * images @ texts.T


class TeacherAffinity(WrappedLoss):
    """alpha * H(teacher, student) over the batch, both ways, + (1 - alpha) * the config's own loss.

    Args:
        loss: the config's own.
        logits: numbers of images and texts among the training pairs (b, 2) -> the teacher's scores (b, b), such as
            `DualTeacher.logits`.
        settings: alpha and both temperatures.
    """

    needs_modalities = True

    def __init__(self, loss: Loss, logits: Callable[[Tensor], Tensor], settings: DistillationSettings) -> None:
        super().__init__(loss)
        self._logits = logits
        self._settings = settings

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The loss of one batch. Raises ConfigError for embeddings that do not say which pairs they are of."""
        if embedded.rows is None:
            raise ConfigError("a teacher scores images with texts; leave out [pairs]")
        settings = self._settings
        own = self.loss(embedded) if settings.alpha < 1 else torch.zeros((), device=embedded.image.device)
        if not settings.alpha:
            return own
        student, teacher = embedded.scores(), self._logits(embedded.rows)
        both = [
            distillation_loss(
                given, wanted, temperature=settings.temperature, student_temperature=settings.student_temperature
            )
            for given, wanted in ((student, teacher), (student.T, teacher.T))
        ]
        return settings.alpha * (both[0] + both[1]) / 2 + (1 - settings.alpha) * own
