"""Answers: whether each of some pairs is related, and how likely that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.types import Skipped
from diptych.data.images import name_of
from diptych.data.pair_list import KINDS, Asked, Kind

from .judges import Judge
from .scoring import PairScorer


@dataclass(frozen=True)
class Relation:
    """Whether one pair is related, how likely that is, and the scores behind it.

    `related` and `probability` are None where nothing was calibrated and the model has no probability of its own.
    """

    left: str
    right: str
    kind: Kind
    scores: tuple[float, ...]
    probability: float | None = None
    related: bool | None = None
    where: str = ""
    label: bool | None = None

    def to_json(self, measures: Sequence[str]) -> dict[str, Any]:
        """JSON-ready; the scores by what they are."""
        found: dict[str, Any] = {"left": self.left, "right": self.right, "kind": self.kind, "related": self.related}
        found["probability"] = None if self.probability is None else round(self.probability, 6)
        found |= {what: round(score, 6) for what, score in zip(measures, self.scores, strict=True)}
        found |= {"where": self.where} if self.where else {}
        return found if self.label is None else {**found, "label": self.label}

    def to_text(self, measures: Sequence[str]) -> str:
        """A line: "related: yes (probability 0.931, cosine 0.312)"."""
        said = [f"{what} {score:.3f}" for what, score in zip(measures, self.scores, strict=True)]
        if self.probability is None:
            return ", ".join(said)
        said = [f"probability {self.probability:.3f}", *said]
        return f"related: {'yes' if self.related else 'no'} ({', '.join(said)})"


def judged(
    scorer: PairScorer,
    pairs: Sequence[Asked],
    judges: Mapping[Kind, Judge],
    skipped: list[Skipped] | None = None,
    *,
    progress: Progress = SILENT,
) -> tuple[Relation, ...]:
    """An answer for each pair that can be read, in order; kinds without a judge get scores alone."""
    there, scores = scorer.scores(pairs, skipped, progress=progress)
    return answered([pairs[place] for place in there], scores, judges)


def answered(
    pairs: Sequence[Asked], scores: Float32[np.ndarray, "n f"], judges: Mapping[Kind, Judge]
) -> tuple[Relation, ...]:
    """An answer for each pair from its scores; kinds without a judge get scores alone."""
    found: dict[int, Relation] = {}
    for kind in KINDS:
        rows = np.array([row for row, pair in enumerate(pairs) if pair.kind == kind], dtype=np.int64)
        judge = judges.get(kind)
        likely = [None] * len(rows) if judge is None else judge.probability(scores[rows]).tolist()
        for row, probability in zip(rows, likely, strict=True):
            pair = pairs[row]
            left, right = (name_of(side) if is_image else str(side) for side, is_image in pair.sides)
            is_related = None if judge is None or probability is None else probability >= judge.least
            values = tuple(scores[row].tolist())
            found[int(row)] = Relation(left, right, kind, values, probability, is_related, pair.where, pair.label)
    return tuple(found[row] for row in range(len(pairs)))
