"""Linear heads computed in one step, in NumPy: a run that needs no PyTorch where its towers need none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import registry
from diptych.core.config import Part, to_dict
from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.types import Pair
from diptych.data.features import FeaturePairs, Selection, collect
from diptych.data.seen import Seen
from diptych.models import card, familiarity
from diptych.models.linear_map import LinearMap
from diptych.models.save import TrainedSide, save

from . import towers
from .config import TrainConfig
from .scores import retrieval_scores

_FIT_NUMBERS = 1 << 27  # features that the maps are computed from
_FAMILIAR = 1000  # training images that stand for all of them, and half as many held-out ones


def fit_of(config: TrainConfig) -> Any:
    """The fit that a config names. Raises ConfigError for an unknown one, or for heads that are not linear."""
    if config.fit is None:
        raise ConfigError("the config has no fit")
    fit = registry.build("fit", config.fit)
    linear = (side.head is not None and side.head.name == "linear" for side in (config.image, config.text))
    if not all(linear) or config.image.network or config.text.network:
        raise ConfigError(f'fit {config.fit.name!r} computes linear heads; set head = "linear" on both sides')
    return fit


def fit_linear(config: TrainConfig, training: FeaturePairs) -> tuple[LinearMap, LinearMap]:
    """The image head and the text head, computed from whole images and their texts, as `config.fit` says."""
    enough = min(len(training.texts), _FIT_NUMBERS // training.images[0].dim)
    rows = np.sort(np.random.default_rng(config.seed).permutation(len(training.texts))[:enough])
    first = np.searchsorted(training.image_owner, training.text_owner[rows])
    images, partner = np.unique(first, return_inverse=True)
    sides = [(features, *_statistics(features)) for features in (training.images[0][images], training.texts[rows])]
    image, text = ((features - mean) / std for features, mean, std in sides)
    centres = np.bincount(partner) @ image / len(partner), text.mean(0)
    maps = fit_of(config).maps(image, text, partner, config.dim)
    left, right = (
        _linear_map(mean, std, weights, centre)
        for (_, mean, std), weights, centre in zip(sides, maps, centres, strict=True)
    )
    return left, right


def train(
    config: TrainConfig,
    out: Path,
    pairs: Mapping[str, list[Pair]],
    *,
    cache: Path,
    progress: Progress = SILENT,
) -> Path:
    """Compute the heads from the pairs "train", score them on the pairs "val", and save the model in `out/model`."""
    config = config.resolved()
    fit_of(config)
    both = towers.image_tower(config.image.tower), towers.text_tower(config.text.tower, lambda: ())
    data = config.data
    selection = Selection(langs=data.langs, fields=data.fields, workers=data.workers)
    training, validation = (
        collect(pairs[split], *both, cache / "features", selection, progress=progress) for split in ("train", "val")
    )
    image, text = fit_linear(config, training)
    record = {
        "config": to_dict(config),
        "data": {
            "train": training.records,
            "val": validation.records,
            "train_fingerprint": training.fingerprint(),
            "val_fingerprint": validation.fingerprint(),
        },
        "validation": retrieval_scores(image, text, validation, config.similarity),
        "best_epochs": [],
        "precision": "32-true",
    }
    linear = Part("linear")
    draw = np.random.default_rng(config.seed)
    some = [
        rows[np.sort(draw.permutation(len(rows))[:most])]
        for rows, most in ((training.images[0], _FAMILIAR), (validation.images[0], _FAMILIAR // 2))
    ]
    save(
        out / "model",
        name=config.name,
        image=TrainedSide(both[0], towers.plain_image_part(config.image.tower), linear, image.graph()),
        text=TrainedSide(both[1], towers.plain_text_part(config.text.tower), linear, text.graph()),
        dim=config.dim,
        card=card.write(config.name, config.card, record),
        training=record,
        licence=config.card.licence,
        seen=Seen(training.marks, validation.marks),
        familiar=familiarity.fit(image(some[0]), image(some[1]), config.seed),
    )
    return out / "model"


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
    """Standardise, subtract the mean of the pairs, map; brought to a largest weight of 1, as half precision likes."""
    largest = np.abs(weights).max() or np.float32(1)
    weight = np.ascontiguousarray((weights / largest).T)
    return LinearMap(mean, std, weight, -(weight @ centre).astype(np.float32))
