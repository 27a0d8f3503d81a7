"""The scores of two texts by a text cross-encoder, beside the dual encoder's; the first text is the query."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64
from diptych.core.types import Skipped
from diptych.data.pair_list import TEXT_TEXT, Asked, Kind
from diptych.evaluation.calibrations import Calibrations, uncalibrated
from diptych.models import DualEncoder, lasting_name
from diptych.models.text_cross_encoder import TextCrossEncoder

from .cross_scoring import sigmoid
from .judges import Judge
from .scoring import BesideDual


class TextCrossScorer(BesideDual):
    """Two scores: the text cross-encoder's and the dual encoder's."""

    def __init__(self, model: DualEncoder, cross_encoder: TextCrossEncoder) -> None:
        super().__init__(model, cross_encoder, "match", TEXT_TEXT)
        self.cross_encoder = cross_encoder
        self.models = [model, cross_encoder]
        if cross_encoder.config.objective == "binary":
            self.own = Judge(f"the own probability of {cross_encoder.name} (trained on yes or no)", own=sigmoid)

    def check(self, kinds: Sequence[Kind]) -> None:
        """Raise ConfigError for anything but two texts."""
        if any(kind not in self.kinds for kind in kinds):
            raise ConfigError(f"{self.cross_encoder.name} reads two texts; for images leave the reranker out")

    def comes_with(self) -> Calibrations | None:
        """As `PairScorer.comes_with`: none."""
        return None

    def missing(self, kind: Kind) -> str:
        """As `PairScorer.missing`."""
        models = f"--model {quote(lasting_name(self.dual.model))} --reranker {quote(str(self.cross_encoder.folder))}"
        return uncalibrated(f"{kind} pairs and {self.name}", models)

    def scores(
        self, pairs: Sequence[Asked], skipped: list[Skipped] | None = None, *, progress: Progress = SILENT
    ) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, "k f"]]:
        """As `PairScorer.scores`. Raises ConfigError as `check`."""
        self.check([pair.kind for pair in pairs])
        there, similarity = self.dual.scores(pairs, skipped, progress=progress)
        texts = list(dict.fromkeys(str(side) for pair in pairs for side, _ in pair.sides))
        at = {text: place for place, text in enumerate(texts)}
        left, right = (
            np.array([at[str(side)] for side in sides], dtype=np.int64)
            for sides in ([pair.left for pair in pairs], [pair.right for pair in pairs])
        )
        own = self.cross_encoder.score_pairs(texts, left, right, progress=progress)
        return there, np.column_stack([own, similarity[:, 0]]).astype(np.float32)
