"""How near images are to those that a model was trained on, and a note when they are far from them.

The training embeddings are summarised by the centres of a few clusters; an image's closeness is its cosine to the
nearest centre. The threshold comes from held-out images of the same kind: of the sets of 20 held-out images, drawn at
random or similar to each other as in an album, 99 in 100 are closer. It is kept in familiar.json beside the model and
is not part of the model's fingerprint; a model without the file gives no notes.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import ModelError
from diptych.core.files import write_json
from diptych.core.notes import Note
from diptych.core.shapes import Float, Float32

FILE = "familiar.json"
LEAST = 20  # images: fewer say nothing about where they are from
_CENTRES = 24
_ROUNDS = 20
_PASS = 0.99  # share of sets of held-out images that must get no line
_SETS = 1000  # drawn at random
_LEAST_TRAINING, _LEAST_HELD_OUT = 5 * _CENTRES, 5 * LEAST
_LEVELS = 127


@dataclass(frozen=True)
class Familiarity:
    """What the embeddings of a model's training images look like, in a few kilobytes."""

    centres: Float32[np.ndarray, "c d"]  # of unit length
    threshold: float  # median closeness of a batch below which its images are far

    def closeness(self, vectors: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, " n"]:
        """Cosine of each embedding to the nearest centre."""
        return np.asarray((normalise(vectors) @ self.centres.T).max(axis=1), dtype=np.float32)

    def notes(self, vectors: Float[np.ndarray, "n d"], model: str) -> tuple[Note, ...]:
        """A note where the images are far from those of the training; none for near ones, or for fewer than 20."""
        if len(vectors) < LEAST or (found := float(np.median(self.closeness(vectors)))) >= self.threshold:
            return ()
        detail = (
            f"images unlike those that the model {model} was trained on; it may find little better than chance until "
            "it is trained on pairs of your own, as by diptych train configs/heads.toml "
            f"(closeness {found:.2f}, usual is {self.threshold:.2f} and more)"
        )
        return (Note("unfamiliar", len(vectors), detail),)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; centres in 8 bits."""
        scale = float(np.abs(self.centres).max())
        levels = np.round(self.centres / scale * _LEVELS).astype(np.int8)
        written = base64.b64encode(levels.tobytes()).decode("ascii")
        return {"threshold": round(self.threshold, 4), "shape": list(levels.shape), "centres": written}


def fit(training: Float[np.ndarray, "n d"], held_out: Float[np.ndarray, "m d"], seed: int = 0) -> Familiarity | None:
    """From embeddings of training images and of held-out ones of the same kind; None where there are too few."""
    if len(training) < _LEAST_TRAINING or len(held_out) < _LEAST_HELD_OUT:
        return None
    centres = _clusters(normalise(training).astype(np.float32), seed)
    rough = read_json(Familiarity(centres, 0.0).to_json())  # thresholds are of the centres as they are kept
    unit = normalise(held_out).astype(np.float32)
    draws = np.random.default_rng(seed)
    sets = np.stack([draws.choice(len(unit), LEAST, replace=False) for _ in range(_SETS)])
    albums = np.argsort(-(unit @ unit.T), axis=1, kind="stable")[:, :LEAST]  # each image with those most like it
    closeness = rough.closeness(unit)
    usual = [float(np.quantile(np.median(closeness[one], axis=1), 1 - _PASS)) for one in (sets, albums)]
    return Familiarity(rough.centres, min(usual))


def write(folder: Path, familiarity: Familiarity) -> None:
    """Write it into a model folder."""
    write_json(folder / FILE, familiarity.to_json())


def read(folder: Path) -> Familiarity | None:
    """That of a model folder; None for a model without. Raises ModelError for a damaged file."""
    try:
        return read_json(json.loads((folder / FILE).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / FILE} is damaged ({error}); copy the model folder again, or remove it") from error


def read_json(value: dict[str, Any]) -> Familiarity:
    """What `to_json` wrote."""
    levels = np.frombuffer(base64.b64decode(value["centres"]), dtype=np.int8).reshape(value["shape"])
    return Familiarity(normalise(levels.astype(np.float32)).astype(np.float32), float(value["threshold"]))


def _clusters(unit: Float32[np.ndarray, "n d"], seed: int) -> Float32[np.ndarray, "c d"]:
    """Spherical k-means."""
    centres = unit[np.sort(np.random.default_rng(seed).choice(len(unit), _CENTRES, replace=False))]
    for _ in range(_ROUNDS):
        nearest = (unit @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, unit)
        empty = ~np.bincount(nearest, minlength=_CENTRES).astype(bool)
        sums[empty] = centres[empty]
        centres = normalise(sums).astype(np.float32)
    return centres
