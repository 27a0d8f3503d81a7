"""Pixels to what a network takes: checked, normalised, channels first."""

from __future__ import annotations

import numpy as np

from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float32


def check_pixels(pixels: np.ndarray, preprocess: Preprocess) -> None:
    """Raise ModelError unless `pixels` is uint8 (b, h, w, 3) of the size the tower takes.

    Any array is let in by the signature: telling wrong ones apart is the point.
    """
    expected = (preprocess.size, preprocess.size, 3)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
        raise ModelError(
            f"found pixels of type {pixels.dtype} and shape {pixels.shape}; this tower takes uint8 of shape "
            f"(b, {', '.join(map(str, expected))}); resize by the tower's `preprocess` first"
        )


def normalise_pixels(pixels: np.ndarray, preprocess: Preprocess) -> Float32[np.ndarray, "b 3 h w"]:
    """(x - mean) / std for each channel of uint8 (b, h, w, 3). Raises ModelError for another type or size."""
    check_pixels(pixels, preprocess)
    batch, height, width, channels = pixels.shape
    planes = np.empty((batch, channels, height, width), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(preprocess.mean, preprocess.std, strict=True)):
        plane = planes[:, channel]
        np.subtract(pixels[..., channel], np.float32(mean), out=plane)
        plane *= np.float32(1 / std)
    return planes
