"""Labels as vectors of a served model, the latest ones kept: images are mostly classified by the same labels again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from diptych.core import fingerprint
from diptych.core.cosine import normalise
from diptych.core.shapes import Float32
from diptych.data.labels import Label
from diptych.inspection.zero_shot import ScoredBy, scored_by
from diptych.models import DualEncoder

from .embedding import Embedder, Vector
from .inputs import checked_text
from .schemas import MAX_TEXT

_AT_ONCE = 64  # prompts that are embedded together, so that others' texts come between
_REMEMBERED = 16  # sets of labels


class LabelVectors:
    """The vectors of labels: the mean of their prompts' vectors, brought to unit length."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[str, Float32[np.ndarray, "c d"]] = OrderedDict()

    async def of(self, prompts: Sequence[Sequence[str]], embedder: Embedder) -> Float32[np.ndarray, "c d"]:
        """A unit vector for each label, whose prompts are given. Raises DataError for an empty one."""
        key = fingerprint.of_json([embedder.model.fingerprint, [list(own) for own in prompts]])
        if (known := self._remembered.get(key)) is None:
            texts = [checked_text(text, MAX_TEXT, "a prompt") for own in prompts for text in own]
            rows: list[Vector] = []
            for start in range(0, len(texts), _AT_ONCE):
                rows += await embedder.texts(texts[start : start + _AT_ONCE])
            ends = np.cumsum([len(own) for own in prompts])[:-1]
            sums = [part.astype(np.float64).sum(axis=0) for part in np.split(np.stack(rows), ends)]
            known = normalise(np.stack(sums))
        self._remembered[key] = known
        self._remembered.move_to_end(key)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return known


def scored(
    images: Float32[np.ndarray, "n d"], labels: Sequence[Label], vectors: Float32[np.ndarray, "c d"], embedder: Embedder
) -> tuple[Float32[np.ndarray, "n c"], ScoredBy]:
    """The scores of images with labels, and what they are: see `diptych.inspection.zero_shot.LabelScorer`."""
    by = scored_by(embedder.model, len(labels))
    if by == "probability" and isinstance(embedder.model, DualEncoder):
        return embedder.model.probability(images, vectors), by
    return np.asarray(images @ vectors.T, dtype=np.float32), "cosine"
