"""Batches of records: with several texts each, or drawn without end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from diptych.core.checks import at_least
from diptych.core.shapes import Int

from .rows import BatchRows
from .text_batches import TextBatches


class GroupedBatches(TextBatches):
    """Every record once an epoch, with one of its images and up to `texts` of its texts, in random order.

    The entries of a record stand together and name the same image and view, so that the image is embedded once for
    all its texts.

    Args:
        image_owner: record of each image, ascending.
        text_owner: record of each text, ascending.
        texts: texts of a record in a batch; 0 for all.
        batch_size: texts a batch, about.
        options: `views`, `seed` and `plain` of `TextBatches`.
    """

    def __init__(
        self,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        texts: int = 0,
        batch_size: int = 160,
        **options: Any,
    ) -> None:
        super().__init__(image_owner, text_owner, batch_size=batch_size, **options)
        self._most = at_least("texts", texts, 0) or int(self._texts.max())
        records = len(self._texts)
        used = int(np.minimum(self._texts, self._most).sum())
        self.batches = max(1, min(round(used / batch_size), records // 2))
        self.left_out = len(text_owner) - used

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        draw = np.random.default_rng((self._seed, number))
        for records in np.array_split(draw.permutation(len(self._texts)), self.batches):
            text = np.concatenate([self._draw_texts(draw, int(record)) for record in records])
            counts = np.minimum(self._texts[records], self._most)
            image, view = self._draw_images(draw, records)
            yield BatchRows(np.repeat(image, counts), np.repeat(view, counts), text, np.repeat(records, counts))

    def _draw_texts(self, draw: np.random.Generator, record: int) -> Int[np.ndarray, " c"]:
        count = int(self._texts[record])
        return np.asarray(self._first_text[record] + draw.permutation(count)[: self._most])


class RandomBatches(TextBatches):
    """An epoch is so many batches; no record is twice in a batch.

    Records come in one shuffle after the other, each with a random image, view and text of its own.

    Args:
        image_owner: record of each image, ascending.
        text_owner: record of each text, ascending.
        steps: batches an epoch.
        batch_size: records a batch; cut to how many there are.
        options: `views`, `seed` and `plain` of `TextBatches`.
    """

    def __init__(
        self,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        steps: int,
        batch_size: int,
        **options: Any,
    ) -> None:
        super().__init__(image_owner, text_owner, batch_size=batch_size, **options)
        self.batches = steps
        self.left_out = 0  # an epoch is not meant to show every text
        self._size = min(batch_size, len(self._texts))

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        draw = np.random.default_rng((self._seed, number))
        left = np.empty(0, dtype=np.int64)
        for _ in range(self.batches):
            if len(left) < self._size:  # those left come first, and are not in the new shuffle's first part
                shuffled = draw.permutation(len(self._texts))
                first = np.isin(shuffled, left)
                left = np.concatenate([left, shuffled[~first], shuffled[first]])
            records, left = left[: self._size], left[self._size :]
            image = self._first_image[records] + draw.integers(0, self._images[records])
            text = self._first_text[records] + draw.integers(0, self._texts[records])
            yield BatchRows(image, self._draw_views(draw, len(records)), text, records)
