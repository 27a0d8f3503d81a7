"""Projection of vectors onto a plane, for maps."""

from __future__ import annotations

import logging
import warnings
from typing import Literal

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError
from diptych.core.extras import is_installed, needed_by
from diptych.core.shapes import Float, Float32, Int64

Method = Literal["auto", "pacmap", "pca"]
_FEWEST_FOR_PACMAP = 20


def project(vectors: Float[np.ndarray, "n d"], method: Method = "auto", seed: int = 0) -> Float32[np.ndarray, "n 2"]:
    """Points in the plane, within [-1, 1], near vectors near each other.

    pacmap (Wang et al. 2021) keeps neighbourhoods; pca keeps the two widest directions and needs no
    extra. "auto" takes pacmap where it is installed and there are points enough. Raises
    MissingExtraError where pacmap is asked for and missing, DataError for fewer than two points.
    """
    if method not in ("auto", "pacmap", "pca"):
        raise ConfigError(f"unknown projection {method!r}; choose from auto, pacmap, pca")
    if len(vectors) < 2:
        raise DataError(f"a map needs two points or more, found {len(vectors)}")
    if method == "pca" or (method == "auto" and (len(vectors) < _FEWEST_FOR_PACMAP or not is_installed("pacmap"))):
        return fitted_in(pca(vectors))
    return fitted_in(_pacmap(vectors, seed))


def pca(vectors: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 2"]:
    """Coordinates along the two directions of most variance; each direction's sign makes its largest part positive."""
    centred = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, ::-1][:, :2]
    if two.shape[1] < 2:  # one-dimensional vectors
        two = np.concatenate([two, np.zeros((len(two), 1))], axis=1)
    signs = np.sign(two[np.abs(two).argmax(axis=0), np.arange(2)])
    return np.asarray(centred @ (two * np.where(signs == 0, 1, signs)), dtype=np.float32)


def without_gap(vectors: Float32[np.ndarray, "n d"], kinds: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
    """The vectors minus the mean of their kind, and normalised again.

    Images and texts of a contrastive model lie in two cones apart (the "modality gap", Liang et al.
    2022); without that shift, a map shows which belong together rather than which are of one kind.
    """
    moved = np.array(vectors, dtype=np.float32)
    for kind in np.unique(kinds):
        moved[kinds == kind] -= moved[kinds == kind].mean(axis=0)
    return normalise(moved)


def fitted_in(points: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 2"]:
    """Moved and scaled, both axes alike, so that all lie within [-1, 1]."""
    low, high = points.min(axis=0), points.max(axis=0)
    width = float((high - low).max()) or 1.0
    return np.asarray((points - (low + high) / 2) / (width / 2), dtype=np.float32)


def _pacmap(vectors: Float[np.ndarray, "n d"], seed: int) -> Float32[np.ndarray, "n 2"]:
    with needed_by("this map"):
        import pacmap
    logging.getLogger("pacmap").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both say that a seed is set, which is what is wanted
        reducer = pacmap.PaCMAP(n_components=2, random_state=seed)
        return np.asarray(reducer.fit_transform(np.asarray(vectors, dtype=np.float32)), dtype=np.float32)
