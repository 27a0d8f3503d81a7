"""R-precision: does an independent encoder find a picture's own text among strangers' (Xu et al. 2018)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float64, Int64

POOL = 100  # texts that each picture chooses from, its own among them
_TIE = 1e-6  # cosines this near are equal: single precision tells no more apart


def draw_pools(texts: Sequence[Hashable], size: int = POOL, seed: int = 0) -> Int64[np.ndarray, "n wrong"]:
    """For each text, the places of `size` - 1 other texts that are not equal to it, drawn without replacement.

    Where there are fewer other texts than that the pool is smaller for every text, so chance is one in the pool.
    Raises DataError when some text has no other one.
    """
    numbers: dict[Hashable, int] = {}
    labels = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    strangers = len(labels) - np.bincount(labels)[labels] if len(labels) else np.zeros(0, dtype=np.int64)
    wrong = min(size - 1, int(strangers.min(initial=size)))
    if not len(labels) or wrong < 1:
        raise DataError(f"{len(numbers)} different texts; R-precision needs at least two to choose between")
    generator = np.random.default_rng(seed)
    return np.stack([generator.choice(np.flatnonzero(labels != label), wrong, replace=False) for label in labels])


def r_precision(
    pictures: Float[np.ndarray, "n d"],
    texts: Float[np.ndarray, "m d"],
    pools: Int64[np.ndarray, "m wrong"],
    own: Int64[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, " n"]:
    """1 where a picture is nearer (by cosine) to its own text than to every text of that text's pool, else 0.

    Picture i is of text `own[i]`; of text i when left out. The mean is reported. A tie is a miss: a picture or
    an encoder that tells nothing apart scores 0, not 1. Chance is 1 / (wrong + 1). The encoder must not be the
    one that the generator was trained with.

    Raises DataError for shapes that do not fit and for vectors that are not finite.
    """
    own = np.arange(len(pictures)) if own is None else own
    if len(texts) != len(pools) or len(pictures) != len(own) or (len(own) and int(own.max()) >= len(texts)):
        raise DataError(
            f"{len(pictures)} pictures of {len(own)} texts, {len(texts)} texts and {len(pools)} pools; "
            "expected a text for each picture and a pool for each text"
        )
    images, words = normalise(pictures).astype(np.float64), normalise(texts).astype(np.float64)
    if not (np.isfinite(images).all() and np.isfinite(words).all()):
        raise DataError("a vector holds NaN or infinite numbers; check the encoder")
    hits = np.empty(len(images))
    for row, text in enumerate(own):
        hits[row] = float(words[text] @ images[row] > (words[pools[text]] @ images[row]).max() + _TIE)
    return hits
