"""Measures of all generated images together beside all real ones."""

from __future__ import annotations

import numpy as np

from diptych.core.shapes import Int64
from diptych.evaluation.generative import (
    frechet_distance,
    grouped_jackknife,
    inception_score,
    kernel_distance,
    precision_recall,
)

from .generator_report import Measure
from .measurement import Measurement


def distances(measurement: Measurement) -> list[Measure]:
    """Fréchet and kernel distance."""
    real, made, other = measurement.compared
    where = "" if measurement.extractor.is_inception else f", {measurement.extractor.name}"

    def frechet(texts: Int64[np.ndarray, " k"]) -> float:
        return frechet_distance(real, made[measurement.images_of(texts)])

    kernel = kernel_distance(real, made, seed=measurement.seed)
    return [
        Measure.of(
            "frechet",
            f"Fréchet distance{where}" if where else "FID",
            grouped_jackknife(frechet, len(measurement.made), seed=measurement.seed),
            real=frechet_distance(real, other) if other is not None else None,
            lower_is_better=True,
            rule="Distance between the features of generated and of real images, each set taken for a Gaussian. "
            f"{len(made):,} generated, {len(real):,} real; it grows as sets get smaller.",
        ),
        Measure(
            "kernel",
            f"kernel distance{where}" if where else "KID",
            kernel.value,
            kernel.interval.low,
            kernel.interval.high,
            kernel_distance(real, other, seed=measurement.seed).value if other is not None else None,
            lower_is_better=True,
            rule=f"Squared MMD with a cubic kernel, unbiased. The range is that of {kernel.subsets} subsets of "
            f"{kernel.size} images.",
        ),
    ]


def coverage(measurement: Measurement) -> list[Measure]:
    """Precision and recall."""
    k = measurement.settings.neighbours
    real, made, other = measurement.compared
    if min(len(real), len(made)) <= k:
        return []
    found = precision_recall(real, made, k)
    among = precision_recall(real, other, k) if other is not None else None
    reach = f"lies as near to one of the {{}} as that one's neighbour number {k} among its own."
    return [
        Measure.of(
            "precision",
            "precision",
            measurement.mean(found.realistic, measurement.text_of),
            real=among.precision if among else None,
            percent=True,
            rule="Share of generated images that look real: one " + reach.format("real images"),
        ),
        Measure.of(
            "recall",
            "recall",
            measurement.mean(found.covered, measurement.real.owner),
            real=among.recall if among else None,
            percent=True,
            rule="Share of real images that could have been generated: one " + reach.format("generated images"),
        ),
    ]


def class_score(measurement: Measurement) -> list[Measure]:
    """The inception score, under its own name when the classes are others."""
    made, real = measurement.generated_features.probabilities, measurement.real_features.probabilities
    if made is None or real is None:
        return []

    def score(texts: Int64[np.ndarray, " k"]) -> float:
        return inception_score(made[measurement.images_of(texts)])

    return [
        Measure.of(
            "class_score",
            "IS" if measurement.extractor.is_inception else f"class score, {measurement.extractor.name}",
            grouped_jackknife(score, len(measurement.made), seed=measurement.seed),
            real=inception_score(real),
            rule="exp of the mean information that an image gives about its class: clear images of many classes "
            "score high, whatever they look like otherwise.",
        )
    ]
