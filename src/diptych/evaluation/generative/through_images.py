"""Retrieval with generated pictures: a text becomes a picture, and the picture searches (X-MRS, 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.shapes import Float32, Int64
from diptych.evaluation.bootstrap import Number, Resampling, paired_difference
from diptych.evaluation.direction import Estimate, Ranking, estimates, numbers_of
from diptych.evaluation.metrics import CUTS
from diptych.evaluation.positives import Positives
from diptych.evaluation.ranks import ranks_from_embeddings


@dataclass(frozen=True)
class GeneratedImageRetrieval:
    """The same search by the generated picture and by something real, on the same gallery.

    `difference` is generated minus real of each metric, paired by query.
    """

    queries: int
    gallery: int
    generated: Mapping[str, Estimate]
    real: Mapping[str, Estimate]
    difference: Mapping[str, Estimate]


def retrieval_by_generated_images(
    generated: Float32[np.ndarray, "q d"],
    real: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "m d"],
    labels: tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " m"]],
    *,
    cuts: Sequence[int] = CUTS,
    resamples: int = 1000,
    seed: int = 0,
) -> GeneratedImageRetrieval:
    """Rank the gallery by inner product with each generated picture, and with its real counterpart.

    Query i and item j belong together when `labels` say the same. The counterpart is the real picture when
    texts are searched, and the text itself when pictures are. Ties count against, as everywhere here.

    Raises DataError for vectors that cannot be ranked and for a query without a relevant item.
    """
    positives = Positives.from_labels(*labels)
    units = np.unique(labels[0], return_inverse=True)[1].astype(np.int64)
    sides: list[dict[str, Number]] = []
    for queries in (generated, real):
        ranks = ranks_from_embeddings(queries, gallery, positives)
        sides.append(numbers_of([Ranking(ranks, units)], cuts))
    count = int(units.max()) + 1
    by_generated, by_real = (
        dict(zip(side, estimates(list(side.values()), count, resamples, seed), strict=True)) for side in sides
    )
    moved = {}
    if resamples:
        resampling = Resampling(count, resamples, seed)
        for name in sides[0]:
            found = paired_difference(sides[1][name], sides[0][name], resampling)
            moved[name] = Estimate(found.value, found.interval)
    return GeneratedImageRetrieval(len(generated), len(gallery), by_generated, by_real, moved)
