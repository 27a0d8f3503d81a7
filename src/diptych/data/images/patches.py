"""Images as packed patches (SigLIP 2 NaFlex): proportions are kept, and still all arrays have one shape.

An image of h x w patches of p x p pixels becomes h * w rows of p * p * 3 bytes, patch after patch from the upper left
to the lower right, then zeros up to the most patches there may be. That fills `size` rows of `size` pixels; one more
row states h and w, each as two bytes in the first two channels of a pixel. So streams, decode workers, libraries and
graphs take packed patches as they take any image.
"""

from __future__ import annotations

import math

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8

_SCALES = (1e-6, 100.0)  # between which the scale of an image is sought, and how exactly: as SigLIP 2's own code
_EXACTLY = 1e-5


def fitted(height: int, width: int, preprocess: Preprocess) -> tuple[int, int]:
    """Rows and columns of patches of an image: by the largest scale at which no more than there may be are needed.

    Source: `get_image_size_for_max_num_patches` of SigLIP 2, whose bisection is repeated here step by step, so that
    borderline images get the same number.
    """
    patch, most = preprocess.patch, (preprocess.size // preprocess.patch) ** 2

    def patches(scale: float, side: int) -> int:
        return max(1, math.ceil(side * scale / patch))

    low, high = _SCALES
    while high - low >= _EXACTLY:
        middle = (low + high) / 2
        if patches(middle, height) * patches(middle, width) <= most:
            low = middle
        else:
            high = middle
    return patches(low, height), patches(low, width)


def pack(pixels: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """An image of whole patches as one array of `preprocess.shape`."""
    patch, size = preprocess.patch, preprocess.size
    rows, columns = (side // patch for side in pixels.shape[:2])
    if pixels.shape[:2] != (rows * patch, columns * patch) or not 0 < rows * columns <= (size // patch) ** 2:
        raise DataError(
            f"found an image of {pixels.shape[0]} x {pixels.shape[1]} pixels; expected 1 to {(size // patch) ** 2} "
            f"patches of {patch} x {patch}",
            Reason.MALFORMED,
        )
    packed = np.zeros(preprocess.shape, dtype=np.uint8)
    by_patch = pixels.reshape(rows, patch, columns, patch, 3).swapaxes(1, 2)
    packed[:size].reshape(-1)[: pixels.size] = by_patch.reshape(-1)
    packed[size, 0, :2] = divmod(rows, 256)
    packed[size, 1, :2] = divmod(columns, 256)
    return packed


def grids(packed: UInt8[np.ndarray, "... h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of patches that packed images state."""
    stated = packed[..., -1, :2, :2].astype(np.int64)
    counts = stated[..., 0] * 256 + stated[..., 1]
    return counts[..., 0], counts[..., 1]


def as_image(prepared: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """A prepared image as one can look at it and paint on it: itself, or what its patches show."""
    if preprocess.mode != "patches":
        return prepared
    patch = preprocess.patch
    rows, columns = (int(count) for count in grids(prepared))
    values = prepared[: preprocess.size].reshape(-1)[: rows * columns * patch * patch * 3]
    return np.ascontiguousarray(
        values.reshape(rows, columns, patch, patch, 3).swapaxes(1, 2).reshape(rows * patch, columns * patch, 3)
    )


def as_prepared(image: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """What `as_image` gave, perhaps changed, as a tower takes it."""
    return pack(image, preprocess) if preprocess.mode == "patches" else image


def mirrored(prepared: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "h w 3"]:
    """A prepared image with left and right exchanged."""
    return np.ascontiguousarray(as_prepared(as_image(prepared, preprocess)[:, ::-1], preprocess))
