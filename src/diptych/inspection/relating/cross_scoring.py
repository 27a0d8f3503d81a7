"""The scores of an image with a text by a cross-encoder, beside the dual encoder's: together they tell most.

Of one trained by captioning it is how much the image raises the text's likelihood, a word: (h - log p(text)) / words.
Of any other it is the score that it ranks by.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from shlex import quote
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import SILENT, CrossEncoder, Progress
from diptych.core.shapes import Float, Float32, Int64
from diptych.core.types import Skipped
from diptych.data.images import stream
from diptych.data.pair_list import IMAGE_TEXT, Asked, Kind
from diptych.evaluation.calibrations import GAIN, Calibrations, uncalibrated
from diptych.models import DualEncoder, lasting_name
from diptych.models.cross_encoder.pair import read_pair

from .judges import Judge
from .scoring import BesideDual, left_out

_AT_ONCE = 256  # pairs whose image tokens are held together


class CrossScorer(BesideDual):
    """Two scores: the cross-encoder's and the dual encoder's."""

    def __init__(self, model: DualEncoder, cross_encoder: CrossEncoder) -> None:
        super().__init__(model, cross_encoder, measure_of(cross_encoder), IMAGE_TEXT)
        self.cross_encoder = cross_encoder
        self.models = [model, *([cross_encoder] if _objective(cross_encoder) else [])]
        if getattr(cross_encoder, "matches", False) or _objective(cross_encoder) == "itm":
            self.own = Judge(f"the own probability of {cross_encoder.name} (its matching head)", own=sigmoid)

    def check(self, kinds: Sequence[Kind]) -> None:
        """Raise ConfigError for two of a kind."""
        if any(kind not in self.kinds for kind in kinds):
            raise ConfigError("a cross-encoder looks at an image and a text; for two of a kind leave the reranker out")

    def comes_with(self) -> Calibrations | None:
        """What `diptych rerank fit` left for the two models in the cross-encoder's folder."""
        folder = getattr(self.cross_encoder, "folder", None)
        if folder is None:
            return None
        model = self.dual.model
        try:
            pair = read_pair(folder, model.fingerprint, self.cross_encoder.fingerprint, lasting_name(model))
        except ModelError:  # nothing was fitted, or for an earlier version
            return None
        return Calibrations.from_json(pair.relate) if pair.relate else None

    def missing(self, kind: Kind) -> str:
        """As `PairScorer.missing`."""
        models = f"--model {quote(lasting_name(self.dual.model))} --reranker {quote(_address(self.cross_encoder))}"
        if _objective(self.cross_encoder):
            return f"nothing is calibrated for {self.name}; fit it with diptych rerank fit PAIRS {models}"
        return uncalibrated(self.name, models)

    def scores(
        self, pairs: Sequence[Asked], skipped: list[Skipped] | None = None, *, progress: Progress = SILENT
    ) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, "k f"]]:
        """As `PairScorer.scores`. Raises ConfigError as `check`."""
        self.check([pair.kind for pair in pairs])
        there, similarity = self.dual.scores(pairs, skipped, progress=progress)
        rows = [np.zeros((0, 2), dtype=np.float32)]
        kept: list[int] = []
        places = iter(range(len(there)))
        chunks = iter(lambda: list(islice(places, _AT_ONCE)), [])
        for chunk in progress.track(chunks, "batches of pairs", -(-len(there) // _AT_ONCE)):
            some = [pairs[there[place]] for place in chunk]
            readable, found = self._of_some(some, similarity[chunk, 0], skipped)
            kept += [int(there[chunk[place]]) for place in readable]
            rows.append(found)
        return np.array(kept, dtype=np.int64), np.concatenate(rows)

    def _of_some(
        self, pairs: Sequence[Asked], similarity: Float32[np.ndarray, " n"], skipped: list[Skipped] | None
    ) -> tuple[list[int], Float32[np.ndarray, "k 2"]]:
        tokens: dict[int, Any] = {}
        for batch in stream([pair.left for pair in pairs], self.cross_encoder.preprocess):
            if batch.indices:
                tokens |= zip(batch.indices, self.cross_encoder.encode_pixels(batch.pixels), strict=True)
            for place, problem in batch.skipped:  # readable a moment ago
                left_out(pairs[place], problem, skipped)
        places = sorted(tokens)
        texts = [str(pairs[place].right) for place in places]
        if not places:
            return [], np.zeros((0, 2), dtype=np.float32)
        own = cross_scores(self.cross_encoder, np.stack([tokens[place] for place in places]), texts)
        return places, np.column_stack([own, similarity[places]]).astype(np.float32)


def measure_of(cross_encoder: CrossEncoder) -> str:
    """What `cross_scores` gives."""
    return GAIN if _objective(cross_encoder) == "captioning" else "match"


def cross_scores(
    cross_encoder: Any, tokens: Float[np.ndarray, "n r w"], texts: Sequence[str]
) -> Float32[np.ndarray, " n"]:
    """Of image i, by its tokens, with text i."""
    if not hasattr(cross_encoder, "folder"):  # the protocol takes one text at a time
        found = [cross_encoder.score(own[None], text)[0] for own, text in zip(tokens, texts, strict=True)]
        return np.array(found, dtype=np.float32)
    h = cross_encoder.score(tokens, list(texts))
    if measure_of(cross_encoder) == "match":
        return np.asarray(h, dtype=np.float32)
    scorer = cross_encoder.scorer
    return np.asarray((h - scorer.prior(list(texts))) / scorer.lengths(list(texts)), dtype=np.float32)


def _objective(cross_encoder: CrossEncoder) -> str:
    """What a cross-encoder of ours was trained by; "" for any other."""
    return str(getattr(getattr(getattr(cross_encoder, "config", None), "objective", None), "name", ""))


def _address(cross_encoder: CrossEncoder) -> str:
    return str(getattr(cross_encoder, "address", cross_encoder.name))


def sigmoid(scores: Float32[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 / (1 + exp(-score))."""
    return np.asarray(1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -700, 700))))
