"""Records that a dual encoder finds hard to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float32, Int, Int64
from diptych.core.types import Pair
from diptych.data.features import CaptionedImages, Selection, TextRows, collect
from diptych.models import DualEncoder, load, require_cosine
from diptych.training.nearest import nearest_records
from diptych.training.text_relations import word_numbers

from .run import RunContext

_TOGETHER = 1024


class RecordMiner:
    """A dual encoder, by its name, folder or address, that finds the records near each other."""

    def __init__(self, model: str, place: RunContext) -> None:
        self.dual_encoder: DualEncoder = load(model, device=place.device)
        require_cosine(self.dual_encoder, "finding wrong partners")
        self._place = place

    def near(
        self, pairs: Sequence[Pair], training: CaptionedImages, selection: Selection, most: int
    ) -> Int64[np.ndarray, "r k"]:
        """Of each training record the nearest others, which hold neither its images nor its texts.

        Args:
            pairs: the training pairs.
            training: what was collected of them.
            selection: which of their texts.
            most: how many others.
        """
        model, place = self.dual_encoder, self._place
        found = collect(pairs, model.image_tower, model.text_tower, place.features, selection, progress=place.progress)
        if found.keys != training.keys:
            raise DataError("the images changed while they were read; train again")
        words = word_numbers(found.written)
        held: list[list[bytes | int]] = [[] for _ in found.ids]
        for owner, key in zip(found.image_owner.tolist(), found.image_keys, strict=True):
            held[owner].append(key)
        for owner, number in zip(found.text_owner.tolist(), words.tolist(), strict=True):
            held[owner].append(number)
        images = _by_record(model.image_head, found.cached[0], found.image_owner)
        return nearest_records(images, _by_record(model.text_head, found.texts, found.text_owner), held, most)


def _by_record(
    head: Callable[[Any], Float32[np.ndarray, "b d"]], rows: TextRows, owner: Int[np.ndarray, " n"]
) -> Float32[np.ndarray, "r d"]:
    """The mean vector of each record's rows; `owner` ascends, and every record has a row."""
    parts = np.array_split(np.arange(len(rows)), -(-len(rows) // _TOGETHER))
    vectors = np.concatenate([head(rows[part]) for part in parts])
    starts = np.searchsorted(owner, np.arange(owner[-1] + 1))
    return np.asarray(np.add.reduceat(vectors, starts) / np.bincount(owner)[:, None], dtype=np.float32)
