"""Batches of records: with several texts each, or drawn without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.shapes import Int

from .rows import BatchRows
from .shares import SourceShares
from .text_batches import TextBatches


@dataclass(frozen=True)
class NearRecords:
    """Records that are hard to tell apart: of each record some others, and how many stand together in a batch."""

    of: Int[np.ndarray, "r k"]
    size: int

    def groups(self, order: Int[np.ndarray, " r"], draw: np.random.Generator) -> list[Int[np.ndarray, " _"]]:
        """All records in groups of `size`; the last one may be smaller.

        Each record in `order` that is still free begins a group, and takes free ones of its near records at random.
        Groups for which there are not enough left are joined and cut anew.
        """
        free = np.ones(len(order), dtype=np.bool_)
        whole: list[Int[np.ndarray, " _"]] = []
        left: list[int] = []
        for record in order:
            if not free[record]:
                continue
            free[record] = False
            near = draw.permutation(np.unique(self.of[record]))
            partners = near[free[near]][: self.size - 1]
            free[partners] = False
            group = np.r_[record, partners]
            if len(group) == self.size:
                whole.append(group)
            else:
                left.extend(group.tolist())
        rest = [np.array(left[at : at + self.size]) for at in range(0, len(left), self.size)]
        last = [rest.pop()] if rest and len(rest[-1]) < self.size else []
        mixed = [*whole, *rest]
        return [*(mixed[place] for place in draw.permutation(len(mixed))), *last]

    def share(self, seed: int) -> float:
        """Share of the first epoch's partners that are near to the record that begins their group."""
        draw = np.random.default_rng((seed, 0))
        groups = self.groups(draw.permutation(len(self.of)), draw)
        near = [np.isin(group[1:], self.of[group[0]]) for group in groups]
        return float(np.concatenate(near).mean()) if len(self.of) > 1 else 0.0


class GroupedBatches(TextBatches):
    """Every record once an epoch, with one of its images and up to `texts` of its texts, in random order.

    The entries of a record stand together and name the same image and view, so that the image is embedded once for
    all its texts. With `shares` an epoch shows so many records of each source, a record at most once in a batch:
    where a source has too few records for that, the epoch has fewer, and `left_out` counts their texts.

    Args:
        image_owner: record of each image, ascending.
        text_owner: record of each text, ascending.
        texts: texts of a record in a batch; 0 for all.
        batch_size: texts a batch, about.
        near: records that should stand together, if there are any.
        shares: of the sources of all texts; a record is of the source of its first text. Not with `near`.
        options: `views`, `seed`, `plain`, `shown` and `substitute` of `TextBatches`.
    """

    def __init__(
        self,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        texts: int = 0,
        batch_size: int = 160,
        near: NearRecords | None = None,
        shares: SourceShares | None = None,
        **options: Any,
    ) -> None:
        super().__init__(image_owner, text_owner, batch_size=batch_size, **options)
        if near is not None and shares is not None:
            raise ConfigError(
                "records that stand together in groups are shown once an epoch each, so sources cannot have weights; "
                "leave the weights out, or objective.mined"
            )
        self._near = near
        self._most = at_least("texts", texts, 0) or int(self._texts.max())
        records = len(self._texts)
        used = np.minimum(self._texts, self._most)
        self._record_shares = shares and replace(shares, source=shares.source[self._shown[self._first_text]])
        times = self._record_shares.times() if self._record_shares else np.ones(records)
        self.batches = max(1, min(round(float(times @ used) / batch_size), records // 2))
        too_many = np.maximum(times - self.batches, 0)
        self.left_out = len(self._text_owner) - int(used.sum()) + round(float(too_many @ used))
        if near is not None:
            self.batches = min(self.batches, -(-records // near.size))

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        draw = np.random.default_rng((self._seed, number))
        for records in self._records_of(draw):
            shown = self._shown[np.concatenate([self._draw_texts(draw, int(record)) for record in records])]
            text = self._substitute(shown, draw) if self._substitute else shown
            counts = np.minimum(self._texts[records], self._most)
            image, view = self._draw_images(draw, records)
            yield BatchRows(np.repeat(image, counts), np.repeat(view, counts), text, np.repeat(records, counts))

    def _records_of(self, draw: np.random.Generator) -> list[Int[np.ndarray, " r"]]:
        """The records of each batch."""
        if self._record_shares:
            records = self._record_shares.draw(draw)
            return distinct_batches(records[self._epoch_order(records, draw).order()], self.batches)
        order = draw.permutation(len(self._texts))
        if self._near is None:
            return np.array_split(order, self.batches)
        groups = self._near.groups(order, draw)
        cuts = np.array_split(np.arange(len(groups)), self.batches)
        return [np.concatenate([groups[place] for place in cut]) for cut in cuts]

    def _draw_texts(self, draw: np.random.Generator, record: int) -> Int[np.ndarray, " c"]:
        count = int(self._texts[record])
        return np.asarray(self._first_text[record] + draw.permutation(count)[: self._most])


def distinct_batches(order: Int[np.ndarray, " n"], batches: int) -> list[Int[np.ndarray, " b"]]:
    """The entries in this order in so many batches, none twice in one: a second one waits for the next batch.

    What still waits after the last batch is left out.
    """
    made: list[Int[np.ndarray, " b"]] = []
    waiting: list[int] = []
    for part in np.array_split(order, batches):
        batch: dict[int, None] = {}
        later: list[int] = []
        for entry in [*waiting, *part.tolist()]:
            if entry in batch:
                later.append(entry)
            else:
                batch[entry] = None
        waiting = later
        made.append(np.fromiter(batch, dtype=np.int64, count=len(batch)))
    return made


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
