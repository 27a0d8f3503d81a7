"""Batches within one modality: two texts of a record, or two views of its images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.core.checks import at_least
from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.core.shapes import Int

from .rows import ACROSS, IMAGES, TEXTS, BatchOrder, BatchRows, SecondRows
from .text_batches import TextBatches

RECORD, CLASS = "record", "class"  # what the rows of a pair have in common
_OWN_STREAM = 0x77697468  # keeps these draws apart from those of the order below


@dataclass(frozen=True)
class PairShares:
    """Which pairs are learnt from, as shares of the batches."""

    across: float = 1.0  # an image and its text
    texts: float = 0.0  # two texts of one record
    images: float = 0.0  # two images of one record, or one image under two views
    # what the two rows of a pair within a modality have in common: the record, or its class
    by: str = "record"
    # of texts with labels: the least label that counts as related for a loss without labels; 0 is any above 0
    relevant_from: float = 0.0

    def __post_init__(self) -> None:
        at_least("pairs.relevant_from", self.relevant_from, 0)
        if self.by not in (RECORD, CLASS):
            raise unknown("pairs.by", self.by, (RECORD, CLASS))
        if self.by == CLASS and self.across:
            raise ConfigError(
                "pairs of one class are of two images or of two texts, and an image is paired with its own text; set "
                f"pairs.across = 0, or pairs.by = {RECORD!r}"
            )
        if min(self.across, self.texts, self.images) < 0 or not sum(self.by_kind.values()) > 0:
            raise ConfigError(
                f"shares of pairs must be at least 0, and one above 0; found across {self.across}, "
                f"texts {self.texts}, images {self.images}"
            )

    @property
    def by_kind(self) -> dict[str, float]:
        """The shares by the kind of a batch."""
        return {ACROSS: self.across, TEXTS: self.texts, IMAGES: self.images}

    @property
    def need_images(self) -> bool:
        """Whether images take part in any pair."""
        return self.across > 0 or self.images > 0

    @property
    def need_texts(self) -> bool:
        """Whether texts take part in any pair."""
        return self.across > 0 or self.texts > 0

    @property
    def are_texts(self) -> bool:
        """Whether all pairs are of two texts of a record."""
        return not (self.across or self.images) and self.by == RECORD

    @property
    def are_across(self) -> bool:
        """Whether all pairs are of an image and a text."""
        return not (self.texts or self.images)


class MixedBatches:
    """A batch order some of whose batches pair within a modality; each batch is of one kind.

    The rows are those of `order`; a batch of texts or of images gives each row a second one of the same record in
    place of the other modality. A single text is paired with itself, and only dropout makes the two differ (as in
    SimCSE, Gao et al. 2021, arXiv 2104.08821); a single image is shown under another view.

    "Record" is what the rows of a pair have in common: with `shares.by` "class" the owners given are classes.

    Args:
        order: of the rows.
        shares: of the kinds.
        image_owner: record of each image, ascending; empty where images take no part.
        text_owner: record of each text, ascending; empty where texts take no part.
        views: how many views each image has.
        seed: with the epoch's number it fixes everything drawn.
    """

    def __init__(
        self,
        order: BatchOrder,
        shares: PairShares,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        views: int = 1,
        seed: int = 0,
    ) -> None:
        self._order = order
        self._shares = shares
        self._images = _Siblings(image_owner)
        self._texts = _Siblings(text_owner)
        self._views = views
        self._seed = seed

    @property
    def batches(self) -> int:
        """How many an epoch has."""
        return self._order.batches

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        draw = np.random.default_rng((self._seed, number, _OWN_STREAM))
        kinds = kinds_of(self._shares, self.batches, draw)
        for kind, rows in zip(kinds, self._order.epoch(number), strict=True):
            if kind == TEXTS:
                yield replace(
                    rows, kind=kind, second=SecondRows(self._texts.draw(rows.text, rows.owner, draw), rows.view)
                )
            elif kind == IMAGES:
                image = self._images.draw(rows.image, rows.owner, draw)
                yield replace(rows, kind=kind, second=SecondRows(image, self._other_view(rows, image, draw)))
            else:
                yield rows

    def _other_view(
        self, rows: BatchRows, image: Int[np.ndarray, " b"], draw: np.random.Generator
    ) -> Int[np.ndarray, " b"]:
        """A view for each second image; of the same image never the same view, if there is another."""
        view = draw.integers(0, self._views, len(image))
        again = (image == rows.image) & (view == rows.view)
        return np.where(again & (self._views > 1), (view + 1) % self._views, view)


class ImageBatches(TextBatches):
    """Every image once an epoch, as `TextBatches` shows every text.

    Args:
        image_owner: record of each image, ascending.
        options: as of `TextBatches`.
    """

    def __init__(self, image_owner: Int[np.ndarray, " n"], **options: Any) -> None:
        super().__init__(image_owner, image_owner, **options)

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        for rows in super().epoch(number):
            yield replace(rows, image=rows.text)


def kinds_of(shares: PairShares, batches: int, draw: np.random.Generator) -> list[str]:
    """The kind of each batch of an epoch: as many of each as its share asks for, in a random order.

    Fractions of a batch are rounded by chance, so that a kind with a small share gets its batches too.
    """
    kinds, weights = list(shares.by_kind), np.array(list(shares.by_kind.values()))
    edges = np.cumsum(weights / weights.sum() * batches)
    edges[-1] = batches
    places = np.searchsorted(edges, np.arange(batches) + draw.random(), side="right")
    return [kinds[place] for place in draw.permutation(np.minimum(places, np.flatnonzero(weights)[-1]))]


class _Siblings:
    """Rows of the same record."""

    def __init__(self, owner: Int[np.ndarray, " n"]) -> None:
        records = int(owner.max(initial=-1)) + 1
        self._first = np.searchsorted(owner, np.arange(records))
        self._count = np.bincount(owner, minlength=records)

    def draw(
        self, rows: Int[np.ndarray, " b"], owner: Int[np.ndarray, " b"], draw: np.random.Generator
    ) -> Int[np.ndarray, " b"]:
        """Of each row another one of its record; the row itself where there is no other."""
        first, count = self._first[owner], self._count[owner]
        step = draw.integers(1, np.maximum(count, 2))
        other: Int[np.ndarray, " b"] = first + (rows - first + step) % count
        return other
