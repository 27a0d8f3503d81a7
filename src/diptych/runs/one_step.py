"""Linear heads computed in one step, in NumPy: a run that needs no PyTorch where its towers need none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import registry
from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.shapes import Float32
from diptych.data.features import FeaturePairs
from diptych.data.views import FULL
from diptych.models.linear_map import LinearMap
from diptych.models.nearest_texts import NearestTexts

from .config import DualEncoderConfig
from .heads import HeadsRecipe
from .run import Fitted, RunContext

_FIT_NUMBERS = 1 << 27  # features that the maps are computed from


def fit_of(config: DualEncoderConfig) -> Any:
    """The fit that a config names. Raises ConfigError for an unknown one, or for heads that are not linear."""
    if config.fit is None:
        raise ConfigError("the config has no fit")
    fit = registry.build("fit", config.fit)
    linear = (side.head is not None and side.head.name == "linear" for side in (config.image, config.text))
    if not all(linear) or config.image.network or config.text.network:
        raise ConfigError(f'fit {config.fit.name!r} computes linear heads; set head = "linear" on both sides')
    return fit


def fit_heads(config: DualEncoderConfig, training: FeaturePairs) -> tuple[LinearMap | NearestTexts, LinearMap]:
    """The image head and the text head, computed from whole images and their texts, as `config.fit` says."""
    enough = min(len(training.texts), _FIT_NUMBERS // training.images[0].dim)
    rows = np.sort(np.random.default_rng(config.seed).permutation(len(training.texts))[:enough])
    first = np.searchsorted(training.image_owner, training.text_owner[rows])
    images, partner = np.unique(first, return_inverse=True)
    fit, given = fit_of(config), (training.images[0][images], training.texts[rows])
    sides = [(features, *_statistics(features)) for features in given]
    image, text = ((features - mean) / std for features, mean, std in sides)
    centres = np.bincount(partner) @ image / len(partner), text.mean(0)
    maps = fit.maps(image, text, partner, config.dim)
    left, right = (
        _linear_map(mean, std, weights, centre)
        for (_, mean, std), weights, centre in zip(sides, maps, centres, strict=True)
    )
    return (fit.image_head(left, right, *given, partner) if hasattr(fit, "image_head") else left), right


class OneStepRecipe(HeadsRecipe):
    """Linear heads computed from the features, as `config.fit` says."""

    image: LinearMap | NearestTexts
    text: LinearMap

    def __init__(self, config: DualEncoderConfig, place: RunContext) -> None:
        need("onnx", "saving a model")  # before anything is read
        fit_of(config)
        whole = dataclasses.replace(config.data, views=(FULL,))  # what the maps are computed from
        super().__init__(dataclasses.replace(config, data=whole), place)

    def fit(self) -> Fitted:
        """Compute both heads, and measure them. Raises ConfigError for sources with weights."""
        if any(source.weight for source in self.sources):
            raise ConfigError("a fit reads every record once, so weights have no effect; leave the weights out")
        self.image, self.text = fit_heads(self.config, self.training)
        return Fitted(self.scores(self.image, self.text))

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the model."""
        if isinstance(self.image, NearestTexts):  # the folder and its card name the head that was made
            made = dataclasses.replace(self.config.image, head=self.image.part)
            self.config = dataclasses.replace(self.config, image=made)
        self.save_heads(folder, record, self.image.graph(), self.text.graph(), self.image)


def _statistics(
    features: Float32[np.ndarray, "n f"],
) -> tuple[Float32[np.ndarray, " f"], Float32[np.ndarray, " f"]]:
    """Mean and standard deviation of each feature; a constant feature is left unscaled."""
    mean, std = features.mean(0), features.std(0)
    return mean, np.where(std > 1e-6, std, np.float32(1))


def _linear_map(
    mean: Float32[np.ndarray, " f"],
    std: Float32[np.ndarray, " f"],
    weights: Float32[np.ndarray, "f d"],
    centre: np.ndarray,
) -> LinearMap:
    """Standardise, subtract the mean of the pairs, map. The largest weight is scaled to 1, to fit half precision."""
    largest = np.abs(weights).max() or np.float32(1)
    weight = np.ascontiguousarray((weights / largest).T)
    return LinearMap(mean, std, weight, -(weight @ centre).astype(np.float32))
