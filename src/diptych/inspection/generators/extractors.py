"""Networks that measure images: features for distances, classes for the class score, maps for diversity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.extras import is_installed, need
from diptych.core.protocols import SILENT, ImageTower, MapTower, Progress
from diptych.core.registry import Part, build, has, register
from diptych.core.shapes import Float32, UInt8
from diptych.data.images import prepare
from diptych.encoders import image_tower
from diptych.encoders.image.imagenet_classes import ImageNetClasses, last_means
from diptych.evaluation.generative import MapShape
from diptych.models import DualEncoder, load

DEFAULT = "efficientnet-lite0"
BUNDLED = "base"  # the same network without its classifier, as the model base holds it: no PyTorch
_BATCH = 32

Rows = Float32[np.ndarray, "_ _"]


@dataclass(frozen=True)
class Features:
    """Features of images, and probabilities of classes where the extractor is a classifier."""

    features: Float32[np.ndarray, "n d"]
    probabilities: Float32[np.ndarray, "n c"] | None = None


@runtime_checkable
class Extractor(Protocol):
    """Features of images for distances, under the name that its numbers go by."""

    name: str  # what its features are, in a report
    is_inception: bool  # whether the numbers may be called FID, KID and IS

    def extract(
        self, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "features"
    ) -> Features:
        """Features of images of any one size."""
        ...


class TowerExtractor:
    """Any image tower.

    Args:
        tower: what embeds the images.
        name: what reports call it.
        features: the tower's rows to features; by default the rows themselves.
        probabilities: the tower's rows to probabilities of classes, where it is a classifier.
    """

    is_inception = False

    def __init__(
        self,
        tower: ImageTower,
        name: str,
        features: Callable[[Rows], Rows] = lambda rows: rows,
        probabilities: Callable[[Rows], Rows | None] = lambda rows: None,
    ) -> None:
        if tower.dim > 1 << 14:
            raise ConfigError(f"the tower {name} gives {tower.dim} features; choose one with fewer than 16,384")
        self.name = name
        self._tower, self._features, self._probabilities = tower, features, probabilities

    def extract(
        self, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "features"
    ) -> Features:
        """Features, and probabilities where there are any."""
        rows = embed(self._tower.embed, self._tower, images, progress, label)
        return Features(self._features(rows), self._probabilities(rows))


@register.extractor("efficientnet-lite0", "1,280 ImageNet features and its 1,000 classes")
def efficientnet_extractor() -> TowerExtractor:
    """The last features of EfficientNet-Lite0, and its classes."""
    classes = ImageNetClasses()
    return TowerExtractor(image_tower(DEFAULT), "EfficientNet-Lite0 (ImageNet)", last_means, classes.probabilities)


@register.extractor("base", "nearly the same features, without PyTorch and without classes")
def bundled_extractor() -> TowerExtractor:
    """The last features of the image tower that the model base holds."""
    name = "EfficientNet-Lite0 (ImageNet) as the model base holds it"
    return TowerExtractor(load("base").image_tower, name, last_means)


@register.extractor("inception", "the network behind FID, KID and IS", arguments=("WEIGHTS",), optional=True)
class InceptionExtractor:
    """Inception-v3 with the weights that FID is defined on. Raises MissingExtraError without torch-fidelity."""

    def __init__(self, weights: str | Path = "weights-inception-2015-12-05-6726825d.pth") -> None:
        from diptych.encoders.image.inception import Inception

        self._net = Inception(Path(weights))
        if not is_installed("torch_fidelity"):  # said before anything is drawn
            need("torch_fidelity", "FID")
        self.is_inception = self._net.is_official
        self.name = "Inception-v3" if self.is_inception else "Inception-v3 with other weights"

    def extract(
        self, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "features"
    ) -> Features:
        """Features and probabilities."""
        return Features(*self._net.extract(images))


def open_extractor(name: str = DEFAULT) -> Extractor:
    """A registered extractor, or any image tower by name.

    Raises ConfigError for a name that neither has, MissingExtraError for packages that are not installed.
    """
    if has("extractor", name):
        found: Extractor = build("extractor", Part(name))
        return found
    return TowerExtractor(image_tower(name), name)


class MapExtractor:
    """Feature maps of two depths, for distances between images of one text."""

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

    def extract(
        self, images: UInt8[np.ndarray, "n h w 3"], progress: Progress = SILENT, label: str = "features"
    ) -> Float32[np.ndarray, "n f"]:
        """The maps, flattened one after the other."""
        return embed(self._tower.embed, self._tower, images, progress, label)


def embed(
    encode: Callable[[UInt8[np.ndarray, "b hh ww 3"]], Rows],
    model: ImageTower | DualEncoder,
    images: UInt8[np.ndarray, "n h w 3"],
    progress: Progress = SILENT,
    label: str = "features",
) -> Rows:
    """Images in memory by `encode`, a function of a tower or a model, prepared as the model asks."""
    rows = [np.zeros((0, model.dim), dtype=np.float32)]
    for start in progress.track(range(0, len(images), _BATCH), label, -(-len(images) // _BATCH)):
        prepared = [prepare(image, model.preprocess) for image in images[start : start + _BATCH]]
        rows.append(encode(np.stack(prepared)))
    return np.concatenate(rows)
