"""Did the generator learn its data by heart? How near its pictures come to training pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.shapes import Float32, UInt8
from diptych.evaluation.generative import Neighbours, nearest_by_distance

from .generator import generate_all
from .job import Job
from .outcome import Measure
from .prompts import choose_prompts

_USUAL = 0.01  # of new real pictures count as copies, by definition
_ASKED = 200  # training texts that are drawn
_NEAREST = 3
_AT_ONCE = 1000  # pictures made small together
_SIDE = 32  # pixels a side, at most, where pixels are compared


@dataclass(frozen=True)
class Copies:
    """The measures, and the training pictures nearest to each text's first picture, by features and by pixels."""

    measures: tuple[Measure, ...] = ()
    by_features: Neighbours | None = None
    by_pixels: Neighbours | None = None


def copies(job: Job) -> Copies:
    """Share of pictures nearer to a training picture than 99 of 100 new real pictures are.

    By features and by pixels for held-out texts, and by features for training texts, where a generator that learnt
    by heart gives it away. Nothing without training pictures.
    """
    if job.training is None or job.seen_training is None:
        return Copies()
    training, real = job.seen_training.features, job.seen_real.features
    first = np.arange(0, len(job.flat), job.made.shape[1])
    usual = _usual(real, training)
    by_features = nearest_by_distance(job.seen_made.features[first], training, _NEAREST)
    small = _small(job.training.pixels)
    by_pixels = nearest_by_distance(_small(job.made[:, 0]), small, _NEAREST)
    measures = [
        _measure(job, "copies", "by features", by_features, usual),
        _measure(job, "copies_pixels", "by pixels", by_pixels, _usual(_small(job.real.pixels), small)),
    ]
    asked = _of_training_texts(job)
    if asked is not None:
        seen = job.extractor.look(asked, job.progress, "looking for copies").features
        near = nearest_by_distance(seen, training)
        measures.append(_measure(job, "copies_asked", "asked for training texts, by features", near, usual))
    return Copies(tuple(measures), by_features, by_pixels)


def _measure(job: Job, key: str, how: str, near: Neighbours, usual: float) -> Measure:
    return Measure.of(
        key,
        f"nearly copied, {how}",
        job.mean(near.distances[:, 0] < usual),
        real=_USUAL,
        percent=True,
        lower_is_better=True,
        rule="Share of generated pictures nearer to a training picture than 99 of 100 new real pictures are.",
    )


def _usual(real: Float32[np.ndarray, "n d"], training: Float32[np.ndarray, "m d"]) -> float:
    """How near one in a hundred new real pictures comes to a training picture."""
    return float(np.quantile(nearest_by_distance(real, training).distances[:, 0], _USUAL))


def _of_training_texts(job: Job) -> UInt8[np.ndarray, "n h w 3"] | None:
    """A picture each of some training texts; None where there are none in the language, or none were made."""
    settings = job.settings
    try:
        prompts = choose_prompts(job.training_pairs, settings.lang, _ASKED, job.seed, settings.fields)
        texts = [one.text.value for one in prompts]
        made = generate_all(job.generator, texts, noises=1, seed=job.seed, lang=settings.lang)
    except DataError as error:
        if error.reason in (Reason.EMPTY_TEXT, Reason.MISSING):  # no such texts, or pictures made elsewhere
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
