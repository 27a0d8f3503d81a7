"""Evaluation protocols: which images and texts are ranked against each other, and how often.

A protocol turns a collection into one or more draws; a metric's number is the mean over the draws.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Int64

Owner = Int64[np.ndarray, " _"]  # the record of each image or text


@dataclass(frozen=True)
class Draw:
    """Indices of the images and of the texts that are ranked against each other."""

    images: Int64[np.ndarray, " n"]
    texts: Int64[np.ndarray, " m"]


class Protocol(ABC):
    """Which records are drawn. The sizes of a protocol are filled into its name and description.

    `image_owner` and `text_owner` name the record of each image and text, numbered from 0; every record owns
    at least one of each.
    """

    _name: ClassVar[str]
    _description: ClassVar[str]
    random: ClassVar[bool] = False  # whether the seed matters

    @property
    def name(self) -> str:
        """The name that `parse_protocol` understands."""
        return self._name.format(**vars(self))

    @property
    def description(self) -> str:
        """What is ranked, in a sentence for the report."""
        return self._description.format(**vars(self))

    @abstractmethod
    def draws(self, image_owner: Owner, text_owner: Owner, seed: int) -> list[Draw]:
        """The draws. Raises DataError when there are too few records."""


@dataclass(frozen=True)
class Full(Protocol):
    """Everything at once."""

    _name = "full"
    _description = "every image against every text"

    def draws(self, image_owner: Owner, text_owner: Owner, seed: int) -> list[Draw]:
        """One draw of everything."""
        return [Draw(np.arange(len(image_owner)), np.arange(len(text_owner)))]


@dataclass(frozen=True)
class First(Protocol):
    """The first records of the source with all their images and texts, such as COCO's 5K."""

    size: int  # records

    _name = "first:{size}"
    _description = "the first {size:,} records with all their images and texts"

    def draws(self, image_owner: Owner, text_owner: Owner, seed: int) -> list[Draw]:
        """One draw of the first records."""
        _require(self.size, image_owner, self.name)
        return [_block(image_owner, text_owner, 0, self.size)]


@dataclass(frozen=True)
class Folds(Protocol):
    """Consecutive blocks of records, each on its own, such as COCO's 1K five-fold mean."""

    folds: int
    size: int  # records in a fold

    _name = "folds:{folds}x{size}"
    _description = "mean over {folds} consecutive folds of {size:,} records with all their images and texts"

    def draws(self, image_owner: Owner, text_owner: Owner, seed: int) -> list[Draw]:
        """One draw a fold."""
        _require(self.folds * self.size, image_owner, self.name)
        bounds = ((fold * self.size, (fold + 1) * self.size) for fold in range(self.folds))
        return [_block(image_owner, text_owner, *one) for one in bounds]


@dataclass(frozen=True)
class Bagged(Protocol):
    """Random subsets with one image and one text a record, as in Recipe1M's and X-MRS's 1k and 10k settings.

    Records are drawn without replacement within a bag, and afresh for each bag; where a record has
    several images or texts one is drawn. Each direction then has exactly one positive a query.
    """

    bags: int
    size: int  # image-text pairs in a bag

    _name = "bagged:{bags}x{size}"
    _description = "mean over {bags} random subsets of {size:,} pairs, one image and one text a record"
    random = True

    def draws(self, image_owner: Owner, text_owner: Owner, seed: int) -> list[Draw]:
        """One draw a bag; the same seed draws the same bags."""
        _require(self.size, image_owner, self.name)
        generator = np.random.default_rng(seed)
        return [self._bag(image_owner, text_owner, generator) for _ in range(self.bags)]

    def _bag(self, image_owner: Owner, text_owner: Owner, generator: np.random.Generator) -> Draw:
        records = int(image_owner.max()) + 1
        chosen = generator.choice(records, size=self.size, replace=False)
        texts = _one_each(text_owner, generator)
        # with one image a record there is nothing to draw, and the bags stay what they always were
        images = np.argsort(image_owner) if len(image_owner) == records else _one_each(image_owner, generator)
        return Draw(images[chosen], texts[chosen])


PROTOCOLS: dict[str, Protocol] = {
    "full": Full(),
    "1k": First(1000),
    "5k": First(5000),
    "5fold": Folds(5, 1000),
    "bagged-1k": Bagged(10, 1000),
    "bagged-10k": Bagged(10, 10_000),
}


def parse_protocol(name: str) -> Protocol:
    """A protocol by its short name, or as first:N, folds:KxN or bagged:BxN with sizes of your own.

    Raises ConfigError for any other name, listing the choices.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if match := re.fullmatch(r"first:([1-9]\d*)", name):
        return First(int(match[1]))
    if match := re.fullmatch(r"(folds|bagged):([1-9]\d*)x([1-9]\d*)", name):
        make = Folds if match[1] == "folds" else Bagged
        return make(int(match[2]), int(match[3]))
    raise ConfigError(
        f"unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}, "
        "or give sizes: first:N, folds:KxN (K folds of N records), bagged:BxN (B bags of N pairs)"
    )


def _one_each(owner: Owner, generator: np.random.Generator) -> Int64[np.ndarray, " records"]:
    """One item of each record, drawn at random: the first of each in a shuffled order."""
    shuffled = generator.permutation(len(owner))
    _, first = np.unique(owner[shuffled], return_index=True)
    return np.asarray(shuffled[first])


def _block(image_owner: Owner, text_owner: Owner, start: int, stop: int) -> Draw:
    images, texts = (np.flatnonzero((owner >= start) & (owner < stop)) for owner in (image_owner, text_owner))
    return Draw(images, texts)


def _require(needed: int, image_owner: Owner, name: str) -> None:
    records = int(image_owner.max()) + 1
    if records < needed:
        raise DataError(
            f"protocol {name} needs {needed:,} records with images and texts, found {records:,}; "
            "use the protocol full, or give smaller sizes (first:N, folds:KxN, bagged:BxN)"
        )
