"""Batches of records with several texts each, so that what a picture costs is paid once for its texts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Int
from diptych.training.batches import BatchRows, EpochPlan


class GroupedPlan(EpochPlan):
    """Every record once an epoch, with one of its pictures and up to `texts` of its texts, in random order.

    The entries of a record stand together and name the same picture and view. It is a function of seed and
    epoch, as every plan is.

    Args:
        image_owner: record of each picture, ascending.
        text_owner: record of each text, ascending.
        texts: texts of a record in a batch; 0 for all.
        views: how many views each picture has; view 0 is the plain one.
        batch_size: texts a batch, about.
        seed: with the epoch's number it fixes everything drawn.
        plain: chance that a picture is shown plain or flipped (views 0 and 1) rather than cropped.
    """

    def __init__(
        self,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        texts: int = 0,
        views: int = 1,
        batch_size: int = 160,
        seed: int = 0,
        plain: float = 0.4,
    ) -> None:
        super().__init__(image_owner, text_owner, views=views, batch_size=batch_size, seed=seed, plain=plain)
        if texts < 0:
            raise ConfigError(f"texts a picture must be at least 0, found {texts}")
        self._most = texts or int(self._texts.max())
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
            image = self._first_image[records] + draw.integers(0, self._images[records])
            view = self._draw_views(draw, len(records))
            yield BatchRows(np.repeat(image, counts), np.repeat(view, counts), text, np.repeat(records, counts))

    def _draw_texts(self, draw: np.random.Generator, record: int) -> Int[np.ndarray, " c"]:
        count = int(self._texts[record])
        return np.asarray(self._first_text[record] + draw.permutation(count)[: self._most])
