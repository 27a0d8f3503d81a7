"""What of a text survives in the image made of it: colour, count, object.

Of two texts that differ in one attribute each is drawn. The attribute survived in an image when the retrieval
model finds it nearer to its own text than to the changed one. Chance is one half; a tie is a miss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.markdown import table
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Float64, UInt8
from diptych.core.types import Pair
from diptych.evaluation.direction import Estimate
from diptych.evaluation.generative import estimate_of_mean
from diptych.models import DualEncoder, as_model, require_cosine

from .generator import Generator, generate_all
from .measurement import embed_images_in_memory
from .minimal_pairs import MinimalPair, attributes_of
from .prompts import read_real_images

HEADS = ("attribute", "pairs", "survived %", "95%", "real images %", "margin")
_TIE = 1e-6  # cosines this near are equal


@dataclass(frozen=True)
class Attribute:
    """One attribute: how many pairs, and the share of images in which it survived (from 0 to 1)."""

    name: str
    pairs: int
    generated: Estimate
    real: Estimate | None  # of real images of the same texts, where the pairs come from a source
    margin: float  # mean cosine to the own text minus that to the changed one
    texts_apart: float  # mean cosine between the two texts: the nearer, the harder

    @property
    def cells(self) -> list[str]:
        """What tables print of it, under `HEADS`."""
        bounds = self.generated.interval
        return [
            self.name,
            str(self.pairs),
            f"{100 * self.generated.value:.1f}",
            f"{100 * bounds.low:.1f} to {100 * bounds.high:.1f}" if bounds else "",
            f"{100 * self.real.value:.1f}" if self.real else "",
            f"{self.margin:+.3f}",
        ]


@dataclass(frozen=True)
class Shown:
    """One minimal pair with an image of each text and how they were judged."""

    pair: MinimalPair
    images: UInt8[np.ndarray, "2 h w 3"]
    own: tuple[float, float]  # cosine of each image to its own text
    changed: tuple[float, float]  # and to the other
    survived: float  # share of all of the pair's images


@dataclass(frozen=True)
class Audit:
    """The table and every pair."""

    generator: str
    model: str
    noises: int
    seed: int
    attributes: tuple[Attribute, ...]
    shown: tuple[Shown, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the images."""
        return {
            "kind": "audit",
            "generator": self.generator,
            "model": self.model,
            "noises": self.noises,
            "seed": self.seed,
            "chance": 0.5,
            "attributes": [asdict(one) for one in self.attributes],
            "pairs": [
                {"attribute": one.pair.attribute, "one": one.pair.one, "other": one.pair.other}
                | {"survived": one.survived, "own": one.own, "changed": one.changed}
                for one in self.shown
            ],
        }

    def to_text(self) -> str:
        """A Markdown table."""
        lead = f"{self.generator}, judged by {self.model}; {self.noises} images a text, seed {self.seed}; chance 50 %"
        return f"{lead}\n\n{table(HEADS, [one.cells for one in self.attributes])}"


def audit(
    generator: Generator,
    model: DualEncoder | str | Path,
    minimal: Sequence[MinimalPair],
    *,
    pairs: Sequence[Pair] = (),
    noises: int = 4,
    seed: int = 0,
    bootstrap: int = 1000,
    lang: str = "en",
    names: tuple[str, str] = ("generator", "model"),
    progress: Progress = SILENT,
) -> Audit:
    """Draw both texts of every minimal pair, and ask the model which text each image shows.

    `pairs` is the source that the minimal pairs with `real` places come from: the same question is then asked of
    its real images, which is the most that can be expected. Intervals resample minimal pairs.

    Raises DataError without minimal pairs, and as the generator does.
    """
    if not minimal:
        raise DataError("there are no minimal pairs to audit; give some with --pairs, or leave --found out")
    model = as_model(model)
    require_cosine(model, "the audit")
    texts = [text for one in minimal for text in (one.one, one.other)]
    progress.say(f"generating images of {len(texts)} texts, {noises} each")
    made = generate_all(generator, texts, noises=noises, seed=seed, lang=lang)
    words = model.encode_texts(texts).reshape(len(minimal), 2, -1)
    vectors = embed_images_in_memory(model, made.reshape(-1, *made.shape[2:])).reshape(len(minimal), 2, noises, -1)
    own = np.einsum("ptnd,ptd->ptn", vectors, words)
    changed = np.einsum("ptnd,ptd->ptn", vectors, words[:, ::-1])
    survived = own > changed + _TIE
    real = _real(model, minimal, pairs, words, made.shape[2], progress)
    apart = np.einsum("pd,pd->p", words[:, 0], words[:, 1])
    rows = []
    for name in attributes_of(minimal):
        which = np.array([place for place, one in enumerate(minimal) if one.attribute == name])
        units = np.repeat(np.arange(len(which)), 2 * noises)
        rows.append(
            Attribute(
                name,
                len(which),
                estimate_of_mean(survived[which].reshape(-1).astype(np.float64), units, resamples=bootstrap, seed=seed),
                _real_share(real, which, bootstrap, seed),
                float((own - changed)[which].mean()),
                float(apart[which].mean()),
            )
        )
    shown = tuple(
        Shown(
            one,
            made[2 * place : 2 * place + 2, 0],
            (float(own[place, 0, 0]), float(own[place, 1, 0])),
            (float(changed[place, 0, 0]), float(changed[place, 1, 0])),
            float(survived[place].mean()),
        )
        for place, one in enumerate(minimal)
    )
    return Audit(*names, noises, seed, tuple(rows), shown)


def _real(
    model: DualEncoder,
    minimal: Sequence[MinimalPair],
    pairs: Sequence[Pair],
    words: Float32[np.ndarray, "p 2 d"],
    size: int,
    progress: Progress,
) -> Mapping[int, Float64[np.ndarray, " h"]]:
    """For each minimal pair that is of real pairs, 1 for each real image that is nearer to its own text."""
    wanted = sorted({place for one in minimal for place in one.real or ()})
    if not wanted or not pairs:
        return {}
    images = read_real_images([pairs[place] for place in wanted], size, progress=progress)
    vectors = embed_images_in_memory(model, images.pixels)
    rows_of = {place: np.flatnonzero(images.owner == number) for number, place in enumerate(wanted)}
    found = {}
    for number, one in enumerate(minimal):
        hits: list[float] = []
        for side, place in enumerate(one.real or ()):
            scores = vectors[rows_of[place]] @ words[number].T
            hits += (scores[:, side] > scores[:, 1 - side] + _TIE).astype(float).tolist()
        if hits:
            found[number] = np.array(hits)
    return found


def _real_share(
    real: Mapping[int, Float64[np.ndarray, " h"]], which: np.ndarray, bootstrap: int, seed: int
) -> Estimate | None:
    there = [int(place) for place in which if int(place) in real]
    if not there:
        return None
    values = np.concatenate([real[place] for place in there])
    units = np.repeat(np.arange(len(there)), [len(real[place]) for place in there])
    return estimate_of_mean(values, units, resamples=bootstrap, seed=seed)
