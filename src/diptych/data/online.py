"""Images that are decoded each time they are used, in place of cached features: for augmentation.

What is drawn and how an image is changed is in `diptych.training.online_images`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, ImageTower, Preprocess, Progress, TextTower
from diptych.core.registry import unknown
from diptych.core.shapes import Int, Shaped, UInt8
from diptych.core.types import ImageRef, Pair
from diptych.data.features import FeaturePairs, Selection, collect
from diptych.data.images import stream
from diptych.data.views import FULL

WAYS = ("plain", "zero", "edge", "reflect")
_MOST_WORKERS = 4  # unless more are asked for


@dataclass(frozen=True)
class OnlineImages:
    """How training images are read and augmented: `[data.images]` of a config.

    The steps come in the order of the fields, and each that is left out does nothing.
    """

    workers: int = -1  # processes that read images; 0: the training process itself; -1: CPUs - 1, at most 4
    # how an image becomes a square, one of these drawn for each: squashed as the tower's own preprocessing does
    # (plain), or padded with zeros, with its edge pixels or with its reflection
    resize: tuple[str, ...] = ("plain",)
    rotation: float = 0.0  # up to so many degrees both ways
    random_crop: tuple[float, ...] = ()  # smallest and largest share of the square's area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # of a crop: smallest and largest width / height
    flip: float = 0.0  # probability
    rand_augment: int = 0  # operations of RandAugment (Cubuk et al. 2019, arXiv 1909.13719)
    magnitude: int = 9  # of these operations, 0 to 30
    colour: tuple[float, ...] = ()  # jitter of brightness, contrast, saturation and hue

    def __post_init__(self) -> None:
        for way in self.resize:
            if way not in WAYS:
                raise unknown("resize", way, WAYS)
        crop, colour = self.random_crop, self.colour
        for is_right, expected in (
            (self.workers >= -1, f"workers must be at least -1, found {self.workers}"),
            (bool(self.resize), f"resize must name at least one of {', '.join(WAYS)}"),
            (0 <= self.rotation <= 180, f"rotation must be from 0 to 180 degrees, found {self.rotation}"),
            (
                not crop or (len(crop) == 2 and 0 < crop[0] <= crop[1] <= 1),
                f"random_crop must be two shares, 0 < smallest <= largest <= 1, found {list(crop)}",
            ),
            (0 < self.ratio[0] <= self.ratio[1], f"ratio must be above 0 and ascending, found {list(self.ratio)}"),
            (0 <= self.flip <= 1, f"flip must be from 0 to 1, found {self.flip}"),
            (self.rand_augment >= 0, f"rand_augment must be at least 0, found {self.rand_augment}"),
            (0 <= self.magnitude <= 30, f"magnitude must be from 0 to 30, found {self.magnitude}"),
            (
                not colour or (len(colour) == 4 and min(colour) >= 0 and colour[3] <= 0.5),
                "colour must be four numbers: brightness, contrast and saturation at least 0, and hue from 0 to 0.5; "
                f"found {list(colour)}",
            ),
        ):
            if not is_right:
                raise ConfigError(expected)

    @property
    def processes(self) -> int:
        """How many worker processes to start."""
        return min(_MOST_WORKERS, (os.cpu_count() or 1) - 1) if self.workers < 0 else self.workers


@dataclass(frozen=True)
class DecodedRows:
    """The tower's rows of images without augmentation: `rows[i]` decodes the images that are asked for."""

    refs: Sequence[ImageRef]
    tower: ImageTower
    threads: int = 2  # that decode

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def dim(self) -> int:
        """Width of a row."""
        return self.tower.dim

    def __getitem__(self, which: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k d"]:
        """Raises DataError for an image that cannot be decoded any more."""
        rows = []
        for batch in stream([self.refs[row] for row in which], self.tower.preprocess, workers=self.threads):
            for _, problem in batch.skipped:
                raise problem.error()
            rows.append(self.tower.embed(batch.pixels))
        return np.concatenate(rows)


class ReadableTower:
    """A tower without features: an image that has a row in its cache was decoded once without an error."""

    dim = 1
    storage = "uint8"
    preprocess = Preprocess(32)
    fingerprint = fingerprint.of_json(["readable", 1])

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b 1"]:
        """Zeros."""
        return np.zeros((len(pixels), 1), dtype=np.uint8)


def collect_online(
    pairs: Iterable[Pair],
    image_tower: ImageTower,
    text_tower: TextTower,
    root: Path,
    selection: Selection,
    *,
    views: int = 1,
    progress: Progress = SILENT,
) -> FeaturePairs:
    """As `collect`, but images are decoded when they are asked for; each is decoded once here to find bad ones.

    Args:
        pairs, image_tower, text_tower, root, selection, progress: as for `collect`.
        views: how many augmented views of an image an epoch may show.

    Raises ConfigError for a tower that reads several frames of a video.
    """
    if image_tower.preprocess.frames > 1:
        raise ConfigError(
            "[data.images] reads single images, and the image tower several frames of videos; leave one out"
        )
    plain = dataclasses.replace(selection, view_names=(FULL,))
    found = collect(pairs, ReadableTower(), text_tower, root, plain, progress=progress)
    rows = DecodedRows(found.image_refs, image_tower, selection.workers)
    return dataclasses.replace(found, images=(rows,) * views)
