"""Every text once an epoch, the texts of a record far apart, hard negatives near each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Int

from .rows import BatchRows
from .shares import SourceShares

Substitute = Callable[[Int[np.ndarray, " b"], np.random.Generator], Int[np.ndarray, " b"]]


@dataclass(frozen=True)
class HardNegatives:
    """For each record the records that it should meet, the hardest first, and how much of a batch is for them.

    A share of 1/2 puts the text of one hard negative behind each text, 3/4 three, 1/3 one behind every other text.
    """

    of: Sequence[Sequence[int]]  # by record number
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"the share of hard negatives must be above 0 and below 1, found {self.share}")

    def wanted(self, count: int, draw: np.random.Generator) -> Int[np.ndarray, " n"]:
        """How many hard negatives follow each of `count` texts, so that they are the share of all on average."""
        each = self.share / (1 - self.share)
        return np.floor(each + draw.random(count)).astype(np.int64)


@dataclass(frozen=True)
class EpochOrder:
    """When each text of an epoch is shown.

    The epoch is the time from 0 to 1. It is cut into c parts for a record with c texts; each part gets one text.
    """

    time: Float[np.ndarray, " m"]  # of each text
    owner: Int[np.ndarray, " m"]  # the record of each text
    by_owner: Int[np.ndarray, " m"]  # the texts, record by record, in the order of their parts
    first: Int[np.ndarray, " n"]  # where a record's texts start in `by_owner`
    count: Int[np.ndarray, " n"]  # texts of each record

    def due(self, record: int, time: float) -> int | None:
        """The text of a record whose part of the epoch holds that time; None where the record has no text."""
        count = int(self.count[record])
        return int(self.by_owner[self.first[record] + min(int(time * count), count - 1)]) if count else None

    def order(self) -> Int[np.ndarray, " m"]:
        """The texts by their times."""
        return np.argsort(self.time, kind="stable")

    def order_with(self, hard: HardNegatives, draw: np.random.Generator) -> Int[np.ndarray, " m"]:
        """The texts by their times, each with texts of its hard negatives right behind it.

        The text of a hard negative is the one that is due then, so that every text stays in its own part of the
        epoch, and the texts of a record stay as far apart as before. A text that was shown is not shown again: the
        next hard negative of the list is taken, if there is one.
        """
        return np.fromiter(self._with_negatives(hard, draw), dtype=np.int64, count=len(self.time))

    def _with_negatives(self, hard: HardNegatives, draw: np.random.Generator) -> Iterator[int]:
        wanted = hard.wanted(len(self.time), draw)
        shown = np.zeros(len(self.time), dtype=np.bool_)
        for text in self.order().tolist():
            if shown[text]:
                continue
            shown[text] = True
            yield text
            left = int(wanted[text])
            for record in hard.of[self.owner[text]] if left else ():
                negative = self.due(record, float(self.time[text]))
                if negative is None or shown[negative]:
                    continue
                shown[negative] = True
                yield negative
                left -= 1
                if not left:
                    break


class TextBatches:
    """Every text once an epoch, each with a random image of its record under a random view.

    An epoch is cut into c parts for a record with c texts; each part gets one of them. So two texts of a record
    meet in a batch only where two such parts touch. Every batch needs two records: one with a single record swaps a
    row with the nearest batch that has at least two rows of other records. Where one record has so many texts that
    the others' do not suffice for all batches, an epoch leaves some of its texts out, other ones in each epoch;
    `left_out` is how many.

    Args:
        image_owner: record of each image, ascending.
        text_owner: record of each text, ascending.
        views: how many views each image has; view 0 is the plain one.
        batch_size: rows a batch, evened out over the epoch; never less than 3 where there are as many,
            because 2 may be of one record.
        seed: with the epoch's number it fixes everything drawn.
        plain: probability that an image is shown plain or flipped (views 0 and 1) rather than cropped.
        shown: the texts to show, ascending; None is all of them.
        substitute: text rows and the epoch's generator -> the text rows to show in their place (translations, say).
        hard_negatives: which records should meet.
        shares: of the sources of all texts, where an epoch shows not every text once; None: it does.
    """

    def __init__(
        self,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        views: int = 1,
        batch_size: int = 512,
        seed: int = 0,
        plain: float = 0.4,
        shown: Int[np.ndarray, " d"] | None = None,
        substitute: Substitute | None = None,
        hard_negatives: HardNegatives | None = None,
        shares: SourceShares | None = None,
    ) -> None:
        at_least("batch_size", batch_size, 2)
        if len(np.unique(text_owner)) < 2:
            raise ConfigError("training needs pairs of at least 2 records, found 1; add data")
        self._shown = np.arange(len(text_owner)) if shown is None else shown
        self._substitute = substitute
        self._hard_negatives = hard_negatives
        text_owner = text_owner[self._shown]
        self._text_owner = text_owner
        self._first_image = np.searchsorted(image_owner, np.arange(text_owner.max() + 1))
        self._images = np.bincount(image_owner, minlength=text_owner.max() + 1)
        self._first_text = np.searchsorted(text_owner, np.arange(text_owner.max() + 1))
        self._views = views
        self._plain = plain
        self._seed = seed
        self._texts = np.bincount(text_owner)
        self._shares = shares and replace(shares, source=shares.source[self._shown])
        shown_texts = int(self._shares.counts().sum()) if self._shares else len(text_owner)
        most = int((np.bincount(text_owner, np.ceil(self._shares.times())) if self._shares else self._texts).max())
        others = max(1, shown_texts - most)
        self._at_most = max(3, others * (batch_size - 1))  # texts of a record in an epoch
        self.left_out = max(0, most - self._at_most)
        used = shown_texts - self.left_out
        self.batches = max(1, min(round(used / batch_size), used // 3, others))

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        draw = np.random.default_rng((self._seed, number))
        texts = self._shares.draw(draw) if self._shares else np.arange(len(self._text_owner))
        drawn = self._epoch_order(self._text_owner[texts], draw)
        order = drawn.order_with(self._hard_negatives, draw) if self._hard_negatives else drawn.order()
        if self.left_out:
            order = self._leave_out(order, drawn, draw)
        for places in mix_single_records(np.array_split(order, self.batches), drawn.owner):
            owner = drawn.owner[places]
            image, view = self._draw_images(draw, owner)
            shown = self._shown[texts[places]]
            yield BatchRows(image, view, self._substitute(shown, draw) if self._substitute else shown, owner)

    def _leave_out(
        self, order: Int[np.ndarray, " m"], drawn: EpochOrder, draw: np.random.Generator
    ) -> Int[np.ndarray, " k"]:
        """Without the texts that are too many of their record, drawn anew in each epoch."""
        large = int(drawn.count.argmax())
        places = np.flatnonzero(drawn.owner[order] == large)
        return np.delete(order, draw.permutation(places)[self._at_most :])

    def _epoch_order(self, owner: Int[np.ndarray, " m"], draw: np.random.Generator) -> EpochOrder:
        """The order of an epoch's texts, given the record of each, ascending."""
        count, texts = len(owner), np.bincount(owner, minlength=len(self._texts))
        first = np.cumsum(texts) - texts
        # Rank of each text among those of its record after a shuffle = the part of the epoch that it falls into.
        shuffled = draw.permutation(count)
        by_owner = shuffled[np.argsort(owner[shuffled], kind="stable")]
        rank = np.empty(count, dtype=np.int64)
        rank[by_owner] = np.arange(count) - first[owner[by_owner]]
        time = (rank + draw.random(count)) / texts[owner]
        return EpochOrder(time, owner, by_owner, first, texts)

    def _draw_images(
        self, draw: np.random.Generator, owner: Int[np.ndarray, " b"]
    ) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
        """A random image of each record, and a view of it."""
        image = self._first_image[owner] + draw.integers(0, self._images[owner])
        return image, self._draw_views(draw, len(owner))

    def _draw_views(self, draw: np.random.Generator, count: int) -> Int[np.ndarray, " b"]:
        plain_views = min(2, self._views)
        view = draw.integers(0, plain_views, count)
        if self._views > plain_views:
            cropped = draw.random(count) >= self._plain
            view = np.where(cropped, draw.integers(plain_views, self._views, count), view)
        return view


def mix_single_records(batches: list[np.ndarray], owner: Int[np.ndarray, " m"]) -> list[np.ndarray]:
    """The same texts in batches of the same sizes, none of a single record alone.

    Only such batches are changed, and those that they swap a row with. There is always one to swap with when there
    are at least as many texts of other records as batches.
    """
    alone = [number for number, batch in enumerate(batches) if (owner[batch] == owner[batch[0]]).all()]
    for number in alone:
        record = owner[batches[number][0]]
        if (owner[batches[number]] != record).any():  # it gave a row to an earlier one, and took another record's
            continue
        others = [np.flatnonzero(owner[batch] != record) for batch in batches]
        giving = [place for place, found in enumerate(others) if len(found) > 1]
        if not giving:
            continue
        near = min(giving, key=lambda place: abs(place - number))
        row, end = others[near][0], len(batches[number]) - 1
        mine, theirs = batches[number].copy(), batches[near].copy()
        mine[end], theirs[row] = theirs[row], mine[end]
        batches[number], batches[near] = mine, theirs
    return batches
