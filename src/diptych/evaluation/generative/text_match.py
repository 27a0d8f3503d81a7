"""Do generated images show what their texts say: R-precision, and retrieval by them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float32, Float64, Int64

from ..bootstrap import Number, Resampling, paired_difference
from ..direction import DrawRanking, Estimate, estimates, numbers_of
from ..metrics import CUTS
from ..positives import Positives
from ..ranks import ranks_from_embeddings

POOL = 100  # texts that each image chooses from, its own among them
_TIE = 1e-6  # cosines this near are equal: single precision cannot distinguish them


def draw_pools(texts: Sequence[Hashable], size: int = POOL, seed: int = 0) -> Int64[np.ndarray, "n wrong"]:
    """For each text, the places of `size` - 1 other texts that are not equal to it, drawn without replacement.

    Where there are fewer other texts than that the pool is smaller for every text, so chance is one in the pool.
    Raises DataError when some text has no other one.
    """
    numbers: dict[Hashable, int] = {}
    labels = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    others = len(labels) - np.bincount(labels)[labels] if len(labels) else np.zeros(0, dtype=np.int64)
    wrong = min(size - 1, int(others.min(initial=size)))
    if not len(labels) or wrong < 1:
        raise DataError(f"{len(numbers)} different texts; R-precision needs at least two to choose between")
    generator = np.random.default_rng(seed)
    return np.stack([generator.choice(np.flatnonzero(labels != label), wrong, replace=False) for label in labels])


def r_precision(
    images: Float[np.ndarray, "n d"],
    texts: Float[np.ndarray, "m d"],
    pools: Int64[np.ndarray, "m wrong"],
    own: Int64[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, " n"]:
    """1 where an image is nearer (by cosine) to its own text than to every text of that text's pool, else 0.

    Image i is of text `own[i]`; of text i when left out. The mean is reported. A tie is a miss: an image or
    an encoder that distinguishes nothing scores 0, not 1. Chance is 1 / (wrong + 1). The encoder must not be the
    one that the generator was trained with.

    Raises DataError for shapes that do not fit and for vectors that are not finite.
    """
    own = np.arange(len(images)) if own is None else own
    if len(texts) != len(pools) or len(images) != len(own) or (len(own) and int(own.max()) >= len(texts)):
        raise DataError(
            f"{len(images)} images of {len(own)} texts, {len(texts)} texts and {len(pools)} pools; "
            "expected a text for each image and a pool for each text"
        )
    ours, words = normalise(images).astype(np.float64), normalise(texts).astype(np.float64)
    if not (np.isfinite(ours).all() and np.isfinite(words).all()):
        raise DataError("a vector holds NaN or infinite numbers; check the encoder")
    hits = np.empty(len(ours))
    for row, text in enumerate(own):
        hits[row] = float(words[text] @ ours[row] > (words[pools[text]] @ ours[row]).max() + _TIE)
    return hits


@dataclass(frozen=True)
class GeneratedImageRetrieval:
    """The same search by the generated image and by something real, on the same gallery.

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
    """Rank the gallery by inner product with each generated image, and with its real counterpart.

    Query i and item j belong together when `labels` say the same. The counterpart is the real image when
    texts are searched, and the text itself when images are. Ties count against, as everywhere here.

    Raises DataError for vectors that cannot be ranked and for a query without a relevant item.
    """
    positives = Positives.from_labels(*labels)
    units = np.unique(labels[0], return_inverse=True)[1].astype(np.int64)
    sides: list[dict[str, Number]] = []
    for queries in (generated, real):
        ranks = ranks_from_embeddings(queries, gallery, positives)
        sides.append(numbers_of([DrawRanking(ranks, units)], cuts))
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
