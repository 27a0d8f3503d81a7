"""Whether a generator copies its training images: how near its images come to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.shapes import Float32, UInt8
from diptych.evaluation.generative import Neighbours, nearest_by_distance

from .generator import draw_prompts
from .generator_report import Measure
from .measurement import Measurement
from .prompts import choose_prompts, givable

_USUAL = 0.01  # of new real images count as copies, by definition
_ASKED = 200  # training texts that are drawn
_NEAREST = 3
_AT_ONCE = 1000  # images made small together
_SIDE = 32  # pixels a side, at most, where pixels are compared


@dataclass(frozen=True)
class Copies:
    """The measures, and the training images nearest to each text's first image, by features and by pixels."""

    measures: tuple[Measure, ...] = ()
    by_features: Neighbours | None = None
    by_pixels: Neighbours | None = None


def copies(measurement: Measurement) -> Copies:
    """Share of images nearer to a training image than 99 of 100 new real images are.

    By features and by pixels for held-out texts, and by features for training texts, where copying shows most.
    Nothing without training images.
    """
    if measurement.training is None or measurement.training_features is None:
        return Copies()
    training, real = measurement.training_features.features, measurement.real_features.features
    first = np.arange(0, len(measurement.flat), measurement.made.shape[1])
    usual = _usual(real, training)
    by_features = nearest_by_distance(measurement.generated_features.features[first], training, _NEAREST)
    small = _small(measurement.training.pixels)
    by_pixels = nearest_by_distance(_small(measurement.made[:, 0]), small, _NEAREST)
    measures = [
        _measure(measurement, "copies", "by features", by_features, usual),
        _measure(measurement, "copies_pixels", "by pixels", by_pixels, _usual(_small(measurement.real.pixels), small)),
    ]
    asked = _of_training_texts(measurement)
    if asked is not None:
        features = measurement.extractor.extract(asked, measurement.progress, "features for copies").features
        near = nearest_by_distance(features, training)
        measures.append(_measure(measurement, "copies_asked", "asked for training texts, by features", near, usual))
    return Copies(tuple(measures), by_features, by_pixels)


def _measure(measurement: Measurement, key: str, how: str, near: Neighbours, usual: float) -> Measure:
    return Measure.of(
        key,
        f"nearly copied, {how}",
        measurement.mean(near.distances[:, 0] < usual),
        real=_USUAL,
        percent=True,
        lower_is_better=True,
        rule="Share of generated images nearer to a training image than 99 of 100 new real images are.",
    )


def _usual(real: Float32[np.ndarray, "n d"], training: Float32[np.ndarray, "m d"]) -> float:
    """How near one in a hundred new real images comes to a training image."""
    return float(np.quantile(nearest_by_distance(real, training).distances[:, 0], _USUAL))


def _of_training_texts(measurement: Measurement) -> UInt8[np.ndarray, "n h w 3"] | None:
    """An image each of some training texts; None where there are none in the language, or none were made."""
    settings = measurement.settings
    try:
        chosen = choose_prompts(measurement.training_pairs, settings.lang, _ASKED, measurement.seed, settings.fields)
        prompts, _ = givable(chosen, measurement.training_pairs, settings.given)
        made = draw_prompts(
            measurement.generator,
            prompts,
            measurement.training_pairs,
            settings.given,
            noises=1,
            seed=measurement.seed,
            lang=settings.lang,
        )
    except DataError as error:
        if error.reason in (Reason.EMPTY_TEXT, Reason.MISSING):  # no such texts, or images made elsewhere
            return None
        raise
    return made[:, 0]


def _small(pixels: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n p"]:
    """Pixels averaged to about 32 x 32, from 0 to 1, as rows: a shift by one pixel is then no great distance."""
    step = max(1, pixels.shape[1] // _SIDE)
    side = pixels.shape[1] // step * step
    rows = np.empty((len(pixels), (side // step) ** 2 * 3), dtype=np.float32)
    for start in range(0, len(pixels), _AT_ONCE):
        cut = pixels[start : start + _AT_ONCE, :side, :side].astype(np.float32) / 255
        cells = cut.reshape(len(cut), side // step, step, side // step, step, 3).mean(axis=(2, 4))
        rows[start : start + _AT_ONCE] = cells.reshape(len(cells), -1)
    return rows
