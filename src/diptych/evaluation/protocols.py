"""Evaluation protocols: which images and texts are ranked against each other, and how often.

A protocol turns a collection into one or more draws; a metric's number is the mean over the draws.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import runtime_checkable

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Int64


@dataclass(frozen=True)
class Draw:
    """Indices of the images and of the texts that are ranked against each other."""

    images: Int64[np.ndarray, " n"]
    texts: Int64[np.ndarray, " m"]


@runtime_checkable
class Protocol(Interface):
    """What a protocol offers. `owner[t]` is the image of text t; every image owns at least one text."""

    @property
    def name(self) -> str:
        """The name that `parse_protocol` understands."""
        ...

    @property
    def description(self) -> str:
        """One sentence for the report."""
        ...

    @property
    def random(self) -> bool:
        """Whether the seed matters."""
        ...

    def draws(self, owner: Int64[np.ndarray, " m"], images: int, seed: int) -> list[Draw]:
        """The draws. Raises DataError when there are too few images."""
        ...


@dataclass(frozen=True)
class Full:
    """Everything at once."""

    name = "full"
    description = "every image against every text"
    random = False

    def draws(self, owner: Int64[np.ndarray, " m"], images: int, seed: int) -> list[Draw]:
        """One draw of everything."""
        return [Draw(np.arange(images), np.arange(len(owner)))]


@dataclass(frozen=True)
class First:
    """The first images of the source with all their texts, such as COCO's 5K."""

    size: int  # images

    random = False

    @property
    def name(self) -> str:
        """first:N."""
        return f"first:{self.size}"

    @property
    def description(self) -> str:
        """What is ranked."""
        return f"the first {self.size:,} images with all their texts"

    def draws(self, owner: Int64[np.ndarray, " m"], images: int, seed: int) -> list[Draw]:
        """One draw of the first images."""
        _require(self.size, images, self.name)
        return [_block(owner, 0, self.size)]


@dataclass(frozen=True)
class Folds:
    """Consecutive blocks of images, each on its own, such as COCO's 1K five-fold mean."""

    folds: int
    size: int  # images in a fold

    random = False

    @property
    def name(self) -> str:
        """folds:KxN."""
        return f"folds:{self.folds}x{self.size}"

    @property
    def description(self) -> str:
        """What is ranked."""
        return f"mean over {self.folds} consecutive folds of {self.size:,} images with all their texts"

    def draws(self, owner: Int64[np.ndarray, " m"], images: int, seed: int) -> list[Draw]:
        """One draw a fold."""
        _require(self.folds * self.size, images, self.name)
        return [_block(owner, fold * self.size, (fold + 1) * self.size) for fold in range(self.folds)]


@dataclass(frozen=True)
class Bagged:
    """Random subsets with one text an image, as in Recipe1M's and X-MRS's 1k and 10k settings.

    Images are drawn without replacement within a bag, and afresh for each bag; where an image has
    several texts one is drawn. Each direction then has exactly one positive a query.
    """

    bags: int
    size: int  # image-text pairs in a bag

    random = True

    @property
    def name(self) -> str:
        """bagged:BxN."""
        return f"bagged:{self.bags}x{self.size}"

    @property
    def description(self) -> str:
        """What is ranked."""
        return f"mean over {self.bags} random subsets of {self.size:,} pairs, one text an image"

    def draws(self, owner: Int64[np.ndarray, " m"], images: int, seed: int) -> list[Draw]:
        """One draw a bag; the same seed draws the same bags."""
        _require(self.size, images, self.name)
        generator = np.random.default_rng(seed)
        return [self._bag(owner, images, generator) for _ in range(self.bags)]

    def _bag(self, owner: Int64[np.ndarray, " m"], images: int, generator: np.random.Generator) -> Draw:
        chosen = generator.choice(images, size=self.size, replace=False)
        # The first text of each image in a shuffled order is a text drawn at random.
        shuffled = generator.permutation(len(owner))
        _, first = np.unique(owner[shuffled], return_index=True)
        return Draw(chosen, shuffled[first][chosen])


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
        "or give sizes: first:N, folds:KxN (K folds of N images), bagged:BxN (B bags of N pairs)"
    )


def _block(owner: Int64[np.ndarray, " m"], start: int, stop: int) -> Draw:
    return Draw(np.arange(start, stop), np.flatnonzero((owner >= start) & (owner < stop)))


def _require(needed: int, images: int, name: str) -> None:
    if images < needed:
        raise DataError(
            f"protocol {name} needs {needed:,} images with texts, found {images:,}; "
            "use the protocol full, or give smaller sizes (first:N, folds:KxN, bagged:BxN)"
        )
