"""Measures of all generated pictures together beside all real ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from diptych.evaluation.generative import (
    Neighbours,
    frechet_distance,
    grouped_jackknife,
    inception_score,
    kernel_distance,
    nearest_by_distance,
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


def copies(job: Job) -> tuple[list[Measure], Neighbours | None, Neighbours | None]:
    """How near the generated pictures come to training pictures, beside how near new real pictures come.

    Also the nearest training pictures of each text's first picture, by features and by pixels.
    """
    if job.training is None or job.seen_training is None:
        return [], None, None
    first = np.arange(0, len(job.flat), job.made.shape[1])
    measures, found = [], []
    for key, name, (made, real, training) in (
        (
            "copies",
            "features",
            (job.seen_made.features[first], job.seen_real.features, job.seen_training.features),
        ),
        (
            "copies_pixels",
            "pixels",
            (_small(job.made[:, 0]), _small(job.real.pixels), _small(job.training.pixels)),
        ),
    ):
        near = nearest_by_distance(made, training, 3)
        usual = float(np.quantile(nearest_by_distance(real, training).distances[:, 0], 0.01))
        measures.append(
            Measure.of(
                key,
                f"nearly copied, by {name}",
                job.mean(near.distances[:, 0] < usual),
                real=0.01,
                percent=True,
                lower_is_better=True,
                rule="Share of generated pictures nearer to a training picture than 99 of 100 new real pictures are.",
            )
        )
        found.append(near)
    return measures, found[0], found[1]


def _small(pixels: np.ndarray) -> Float32[np.ndarray, "n p"]:
    """Pixels averaged to at most 32 x 32, from 0 to 1, as rows: a shift by one pixel is then no great distance."""
    step = max(1, pixels.shape[1] // 32)
    side = pixels.shape[1] // step * step
    cut = pixels[:, :side, :side].astype(np.float32) / 255
    cells = cut.reshape(len(cut), side // step, step, side // step, step, 3).mean(axis=(2, 4))
    return np.asarray(cells.reshape(len(cells), -1), dtype=np.float32)
