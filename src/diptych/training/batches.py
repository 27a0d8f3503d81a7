"""Which rows meet in which batch: a pure function of seed and epoch, so that a resume is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Int
from diptych.training.partners import Deal, Partners

ACROSS, TEXTS, IMAGES = "across", "texts", "images"  # what the two rows of a pair are


@dataclass(frozen=True, slots=True)
class Other:
    """The second row of each pair within a modality: another text, or another picture under its view."""

    row: Int[np.ndarray, " b"]
    view: Int[np.ndarray, " b"]  # of pictures


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Row numbers of one batch: entry i is one (picture, view, text) of record `owner[i]`.

    A pair is the picture and the text; in a batch of kind "texts" or "images" it is the text, or the picture
    under its view, and `other`.
    """

    image: Int[np.ndarray, " b"]
    view: Int[np.ndarray, " b"]
    text: Int[np.ndarray, " b"]
    owner: Int[np.ndarray, " b"]
    kind: str = ACROSS
    other: Other | None = None

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, part: slice) -> BatchRows:
        """Some of the rows, in their order."""
        other = self.other and Other(self.other.row[part], self.other.view[part])
        return BatchRows(self.image[part], self.view[part], self.text[part], self.owner[part], self.kind, other)


@runtime_checkable
class Plan(Protocol):
    """What says which rows meet in which batch."""

    @property
    def batches(self) -> int:
        """How many an epoch has."""
        ...

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        ...


Swap = Callable[[Int[np.ndarray, " b"], np.random.Generator], Int[np.ndarray, " b"]]


class EpochPlan:
    """Every text once an epoch, each with a random picture of its record under a random view.

    With `deal`, only those texts are dealt out; with `swap`, each may then give way to another of the same
    meaning (a translation, say), drawn with the epoch's own generator. With `partners`, records that
    are hard for each other are put next to each other, each text in its own part of the epoch as ever.

    The texts of a record are dealt out over the epoch: of c texts one falls into each c-th of it. So
    siblings meet in a batch only where two such parts touch. A batch that came to be of one record alone gets a
    row of another one from the nearest batch that has two to spare. Where one record has nearly all texts, too many
    for a text of another record in each batch, an epoch deals only as many of them as have such company, other ones
    in each epoch; `left_out` is how many it leaves.

    Args:
        image_owner: record of each picture, ascending.
        text_owner: record of each text, ascending.
        views: how many views each picture has; view 0 is the plain one.
        batch_size: rows a batch, evened out over the epoch; never less than 3 where there are as many,
            because 2 may be siblings.
        seed: with the epoch's number it fixes everything drawn.
        plain: chance that a picture is shown plain or flipped (views 0 and 1) rather than cropped.
        deal: the texts to deal out, ascending; None is all of them.
        swap: text rows and the generator -> the text rows to show.
        partners: which records should meet (mined hard negatives).
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
        deal: Int[np.ndarray, " d"] | None = None,
        swap: Swap | None = None,
        partners: Partners | None = None,
    ) -> None:
        if batch_size < 2:
            raise ConfigError(f"batch_size must be at least 2, found {batch_size}")
        if len(np.unique(text_owner)) < 2:
            raise ConfigError("training needs pairs of at least 2 records, found 1; add data")
        self._dealt = np.arange(len(text_owner)) if deal is None else deal
        self._swap = swap
        self._partners = partners
        text_owner = text_owner[self._dealt]
        self._text_owner = text_owner
        self._first_image = np.searchsorted(image_owner, np.arange(text_owner.max() + 1))
        self._images = np.bincount(image_owner, minlength=text_owner.max() + 1)
        self._first_text = np.searchsorted(text_owner, np.arange(text_owner.max() + 1))
        self._views = views
        self._plain = plain
        self._seed = seed
        self._texts = np.bincount(text_owner)
        most = int(self._texts.max())
        others = len(text_owner) - most
        self._at_most = max(3, others * (batch_size - 1))  # texts of a record in an epoch
        self.left_out = max(0, most - self._at_most)
        dealt = len(text_owner) - self.left_out
        self.batches = max(1, min(round(dealt / batch_size), dealt // 3, others))

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        draw = np.random.default_rng((self._seed, number))
        deal = self._deal(draw)
        order = deal.order_with(self._partners, draw) if self._partners else deal.order()
        if self.left_out:
            order = self._cut(order, draw)
        for text in _mixed(np.array_split(order, self.batches), self._text_owner):
            owner = self._text_owner[text]
            image = self._first_image[owner] + draw.integers(0, self._images[owner])
            view = self._draw_views(draw, len(text))
            shown = self._dealt[text]
            yield BatchRows(image, view, self._swap(shown, draw) if self._swap else shown, owner)

    def _cut(self, order: Int[np.ndarray, " m"], draw: np.random.Generator) -> Int[np.ndarray, " k"]:
        """Without the texts that are too many of their record, drawn anew in each epoch."""
        large = int(self._texts.argmax())
        places = np.flatnonzero(self._text_owner[order] == large)
        return np.delete(order, draw.permutation(places)[self._at_most :])

    def _deal(self, draw: np.random.Generator) -> Deal:
        count = len(self._text_owner)
        # Rank of each text among its siblings after a shuffle = the part of the epoch that it is dealt into.
        shuffled = draw.permutation(count)
        by_owner = shuffled[np.argsort(self._text_owner[shuffled], kind="stable")]
        rank = np.empty(count, dtype=np.int64)
        rank[by_owner] = np.arange(count) - self._first_text[self._text_owner[by_owner]]
        time = (rank + draw.random(count)) / self._texts[self._text_owner]
        return Deal(time, self._text_owner, by_owner, self._first_text, self._texts)

    def _draw_views(self, draw: np.random.Generator, count: int) -> Int[np.ndarray, " b"]:
        plain_views = min(2, self._views)
        view = draw.integers(0, plain_views, count)
        if self._views > plain_views:
            cropped = draw.random(count) >= self._plain
            view = np.where(cropped, draw.integers(plain_views, self._views, count), view)
        return view


def _mixed(batches: list[np.ndarray], owner: Int[np.ndarray, " m"]) -> list[np.ndarray]:
    """The same texts in batches of the same sizes, none of a single record alone.

    Only batches that were are changed, and those that a row came from. There is always one to take from where there
    are as many texts of other records as batches.
    """
    alone = [number for number, batch in enumerate(batches) if (owner[batch] == owner[batch[0]]).all()]
    for number in alone:
        record = owner[batches[number][0]]
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
