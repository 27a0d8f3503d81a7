"""How much images of one text differ from noise to noise, in the feature maps of a pretrained network.

LPIPS (Zhang et al. 2018) without its learnt weights and on another network: maps are L2-normalised over their
channels at each position, squared differences are summed over channels and averaged over positions, and the
layers are averaged. Never called LPIPS: its numbers are of another size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float64

MapShape = tuple[int, int, int]  # channels, rows, columns
_EPSILON = 1e-10


def deep_distances(
    first: Float[np.ndarray, "n f"], second: Float[np.ndarray, "n f"], shapes: Sequence[MapShape]
) -> Float64[np.ndarray, " n"]:
    """Distance of each pair of images, from 0 (the same maps) to 4 (opposite ones).

    A row holds an image's maps, flattened one after the other; `shapes` are their channels, rows and columns.
    Raises DataError when the shapes do not add up to the row.
    """
    one, two = _normalised(first, shapes), _normalised(second, shapes)
    layers = [((a - b) ** 2).sum(axis=1).mean(axis=1) for a, b in zip(one, two, strict=True)]
    return np.asarray(np.mean(layers, axis=0), dtype=np.float64)


def own_spread(maps: Float[np.ndarray, "n s f"], shapes: Sequence[MapShape]) -> Float64[np.ndarray, " n"]:
    """Mean distance over all pairs of the s images of each of n texts; 0 when the noise changes nothing.

    Raises DataError for fewer than two images a text.
    """
    count = maps.shape[1]
    if count < 2:
        raise DataError(f"{count} image a text; diversity needs at least two, from different noises")
    pairs = [(a, b) for a in range(count) for b in range(a)]
    return np.asarray(np.mean([deep_distances(maps[:, a], maps[:, b], shapes) for a, b in pairs], axis=0))


def _normalised(rows: Float[np.ndarray, "n f"], shapes: Sequence[MapShape]) -> list[Float64[np.ndarray, "n c p"]]:
    sizes = [math.prod(shape) for shape in shapes]
    if not sizes or sum(sizes) != rows.shape[1]:
        raise DataError(f"maps of shapes {tuple(shapes)} hold {sum(sizes)} numbers, found {rows.shape[1]}")
    split = np.split(np.asarray(rows, dtype=np.float64), np.cumsum(sizes)[:-1], axis=1)
    maps = [part.reshape(len(rows), shape[0], -1) for part, shape in zip(split, shapes, strict=True)]
    return [one / (np.sqrt((one**2).sum(axis=1, keepdims=True)) + _EPSILON) for one in maps]
