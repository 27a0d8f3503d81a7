"""Texts that a dual encoder found, put in another order by a text cross-encoder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core import fingerprint
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64
from diptych.core.types import Pair
from diptych.data.seen import text_mark
from diptych.evaluation.reranking import Rescoring
from diptych.models.text_cross_encoder import TextCrossEncoder

DEPTH = 50  # candidates, where nothing was fitted


@dataclass(frozen=True)
class TextReranker:
    """Orders the best k texts by the cross-encoder's score + beta * cosine."""

    cross_encoder: TextCrossEncoder
    beta: float
    k: int = DEPTH
    fitted_on: Collection[int] = ()  # marks of the records that beta and k were fitted on, see `data.seen`

    def fitted(self, pairs: Iterable[Pair]) -> int:
        """How many of these records it was fitted on."""
        return sum(text_mark(pair.id, pair.texts) in self.fitted_on for pair in pairs) if self.fitted_on else 0

    def to_text(self) -> str:
        """What is done, in words."""
        return f"the best {self.k} re-ranked by {self.cross_encoder.name} + {self.beta:g} cosine"

    def fingerprint(self, dual_encoder: str) -> str:
        """Of this re-ranker above a dual encoder, which is given by its own."""
        return fingerprint.of_json([dual_encoder, self.cross_encoder.fingerprint, self.beta, self.k])

    def rescoring(self, queries: Sequence[str], items: Sequence[str], progress: Progress = SILENT) -> Rescoring:
        """For an evaluation of these queries and items, by their places."""
        texts = [*queries, *items]

        def score(asking: Int64[np.ndarray, " p"], found: Int64[np.ndarray, " p"]) -> Float32[np.ndarray, " p"]:
            return self.cross_encoder.score_pairs(texts, asking, found + len(queries), progress=progress)

        return Rescoring(score, self.beta, self.k)
