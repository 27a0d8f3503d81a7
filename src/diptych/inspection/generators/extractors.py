"""What looks at pictures: features for distances, classes for the class score, maps for diversity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.extras import is_installed, need
from diptych.core.protocols import SILENT, ImageTower, MapTower, Progress
from diptych.core.shapes import Float32, UInt8
from diptych.data.images import prepare
from diptych.encoders import image_tower
from diptych.evaluation.generative import MapShape
from diptych.models import load

DEFAULT = "efficientnet-lite0"
BUNDLED = "base"  # the same network without its classifier, as the model base holds it: no PyTorch
INCEPTION = "inception"
_BATCH = 32


@dataclass(frozen=True)
class Seen:
    """Features of pictures, and probabilities of classes where the extractor is a classifier."""

    features: Float32[np.ndarray, "n d"]
    probabilities: Float32[np.ndarray, "n c"] | None = None


class Extractor:
    """One extractor, under the names that its numbers go by.

    "efficientnet-lite0" (1,280 ImageNet features and its 1,000 classes), "base" (nearly the same features, without
    PyTorch and without classes), "inception:WEIGHTS.pth" (FID, KID, IS), or any image tower by name, without classes.
    Raises ConfigError for a tower that there is not, MissingExtraError for packages that are not installed.
    """

    def __init__(self, spec: str = DEFAULT) -> None:
        self.spec = spec
        self._inception = None
        if spec.partition(":")[0] == INCEPTION:
            from diptych.encoders.image.inception import Inception

            self._inception = Inception(Path(spec.partition(":")[2] or "weights-inception-2015-12-05-6726825d.pth"))
            if not is_installed("torch_fidelity"):  # said before anything is drawn
                need("torch_fidelity", "FID")
        else:
            self._tower = _tower(spec)

    @property
    def name(self) -> str:
        """What its features are, in a report."""
        if self._inception is not None:
            return "Inception-v3" if self._inception.is_official else "Inception-v3 with other weights"
        bundled = "EfficientNet-Lite0 (ImageNet) as the model base holds it"
        return {DEFAULT: "EfficientNet-Lite0 (ImageNet)", BUNDLED: bundled}.get(self.spec, self.spec)

    @property
    def is_inception(self) -> bool:
        """Whether the numbers may be called FID, KID and IS."""
        return self._inception is not None and self._inception.is_official

    def look(self, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "looking") -> Seen:
        """Look at pictures of any one size."""
        if self._inception is not None:
            return Seen(*self._inception.look(images))
        rows = embed(self._tower, images, progress, label)
        if self.spec not in (DEFAULT, BUNDLED):
            return Seen(rows)
        from diptych.encoders.image.imagenet_classes import ImageNetClasses, last_means

        classes = None if self.spec == BUNDLED else ImageNetClasses().probabilities(rows)
        return Seen(last_means(rows), classes)


class MapExtractor:
    """Feature maps of two depths, for distances between pictures of one text."""

    def __init__(self, spec: str = "efficientnet-lite0-maps") -> None:
        tower = image_tower(spec)
        if not isinstance(tower, MapTower):
            raise ConfigError(f"the tower {spec} gives no maps; choose efficientnet-lite0-maps")
        self._tower = tower
        self.name = "EfficientNet-Lite0 (ImageNet), two depths" if spec == "efficientnet-lite0-maps" else spec

    @property
    def shapes(self) -> tuple[MapShape, ...]:
        """Channels, rows and columns of each map."""
        return self._tower.maps

    def look(
        self, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "looking"
    ) -> Float32[np.ndarray, "n f"]:
        """The maps, flattened one after the other."""
        return embed(self._tower, images, progress, label)


def _tower(spec: str) -> ImageTower:
    tower = load("base").image_tower if spec == BUNDLED else image_tower(spec)
    if tower.dim > 1 << 14:
        raise ConfigError(f"the tower {spec} gives {tower.dim} features; choose one with fewer than 16,384")
    return tower


def embed(
    tower: ImageTower, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "looking"
) -> Float32[np.ndarray, "n d"]:
    """A tower's features of pictures that are in memory."""
    rows = [np.zeros((0, tower.dim), dtype=np.float32)]
    for start in progress.track(range(0, len(images), _BATCH), label, -(-len(images) // _BATCH)):
        prepared = [prepare(image, tower.preprocess) for image in images[start : start + _BATCH]]
        rows.append(tower.embed(np.stack(prepared)))
    return np.concatenate(rows)
