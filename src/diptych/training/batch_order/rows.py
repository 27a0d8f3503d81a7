"""The rows of one batch, and what every batch order offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core.shapes import Float, Int

ACROSS, TEXTS, IMAGES = "across", "texts", "images"  # what the two rows of a pair are


@runtime_checkable
class LoadedImages(Protocol):
    """Images of a batch that were decoded and augmented for it."""

    def take(self, image: Int[np.ndarray, " b"], view: Int[np.ndarray, " b"]) -> Any:
        """The tower's rows of these images, each under its view: a tensor (b, f)."""
        ...


@dataclass(frozen=True, slots=True)
class SecondRows:
    """The second row of each pair within a modality: another text, or another image under its view."""

    row: Int[np.ndarray, " b"]
    view: Int[np.ndarray, " b"]  # of images


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Row numbers of one batch: entry i is one (image, view, text) of record `owner[i]`.

    A pair is the image and the text; in a batch of kind "texts" or "images" it is the text, or the image under its
    view, and `second`. `label` says how related the two are, from 0 to 1; None: they are.
    """

    image: Int[np.ndarray, " b"]
    view: Int[np.ndarray, " b"]
    text: Int[np.ndarray, " b"]
    owner: Int[np.ndarray, " b"]
    kind: str = ACROSS
    second: SecondRows | None = None
    label: Float[np.ndarray, " b"] | None = None
    loaded: LoadedImages | None = None  # with online images; None: images are cached rows

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, part: slice) -> BatchRows:
        """Some of the rows, in their order."""
        second = self.second and SecondRows(self.second.row[part], self.second.view[part])
        rows = {name: getattr(self, name)[part] for name in ("image", "view", "text", "owner")}
        return replace(self, **rows, second=second, label=None if self.label is None else self.label[part])


@runtime_checkable
class BatchOrder(Protocol):
    """What says which rows meet in which batch."""

    @property
    def batches(self) -> int:
        """How many an epoch has."""
        ...

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one epoch, in order."""
        ...
