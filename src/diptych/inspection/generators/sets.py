"""Measures of all generated pictures together beside all real ones."""

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

from .job import Job
from .outcome import Measure


def distances(job: Job) -> list[Measure]:
    """Fréchet and kernel distance."""
    real, made, other = job.seen_real.features, job.seen_made.features, job.another_real_set
    where = "" if job.extractor.is_inception else f", {job.extractor.name}"

    def frechet(texts: Int64[np.ndarray, " k"]) -> float:
        return frechet_distance(real, made[job.pictures_of(texts)])

    kernel = kernel_distance(real, made, seed=job.seed)
    return [
        Measure.of(
            "frechet",
            f"Fréchet distance{where}" if where else "FID",
            grouped_jackknife(frechet, len(job.made), seed=job.seed),
            real=frechet_distance(real, other) if other is not None else None,
            lower_is_better=True,
            rule="Distance between the features of generated and of real pictures, each set taken for a Gaussian. "
            f"{len(made):,} generated, {len(real):,} real; it grows as sets get smaller.",
        ),
        Measure(
            "kernel",
            f"kernel distance{where}" if where else "KID",
            kernel.value,
            kernel.interval.low,
            kernel.interval.high,
            kernel_distance(real, other, seed=job.seed).value if other is not None else None,
            lower_is_better=True,
            rule=f"Squared MMD with a cubic kernel, unbiased. The range is that of {kernel.subsets} subsets of "
            f"{kernel.size} pictures.",
        ),
    ]


def coverage(job: Job) -> list[Measure]:
    """Precision and recall."""
    k = job.settings.neighbours
    real, made, other = job.seen_real.features, job.seen_made.features, job.another_real_set
    if min(len(real), len(made)) <= k:
        return []
    found = precision_recall(real, made, k)
    among = precision_recall(real, other, k) if other is not None else None
    reach = f"lies as near to one of the {{}} as that one's neighbour number {k} among its own."
    return [
        Measure.of(
            "precision",
            "precision",
            job.mean(found.realistic, job.text_of),
            real=among.precision if among else None,
            percent=True,
            rule="Share of generated pictures that look real: one " + reach.format("real pictures"),
        ),
        Measure.of(
            "recall",
            "recall",
            job.mean(found.covered, job.real.owner),
            real=among.recall if among else None,
            percent=True,
            rule="Share of real pictures that could have been generated: one " + reach.format("generated pictures"),
        ),
    ]


def class_score(job: Job) -> list[Measure]:
    """The inception score, under its own name when the classes are others."""
    made, real = job.seen_made.probabilities, job.seen_real.probabilities
    if made is None or real is None:
        return []

    def score(texts: Int64[np.ndarray, " k"]) -> float:
        return inception_score(made[job.pictures_of(texts)])

    return [
        Measure.of(
            "class_score",
            "IS" if job.extractor.is_inception else f"class score, {job.extractor.name}",
            grouped_jackknife(score, len(job.made), seed=job.seed),
            real=inception_score(real),
            rule="exp of the mean information that a picture gives about its class: clear pictures of many classes "
            "score high, whatever they look like otherwise.",
        )
    ]
