"""Prepared pixels as a tower's rows: what image networks that are fine-tuned whole start from."""

from __future__ import annotations

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.core.registry import register
from diptych.core.shapes import UInt8
from diptych.encoders.inputs import check_pixels


@register.image_tower("pixels", "pixels as they are, below the network backbone")
class PixelTower:
    """RGB images of `size` x `size` pixels as rows of bytes; the network above it normalises them.

    A row is `size * size * 3` bytes on disk: 150 KB at 224 pixels, 0.9 GB for 6,000 images and one view.
    """

    storage = "uint8"

    def __init__(self, size: int = 224, mode: str = "squash") -> None:
        if mode == "patches":
            raise ConfigError("pixels makes squares, not patches; choose mode squash, crop, shortest or longest")
        self.preprocess = Preprocess(size, mode, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.dim = size * size * 3
        self.fingerprint = fingerprint.of_json(["pixels", size, mode])

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b d"]:
        """The images, flattened. Raises ModelError for another type or size."""
        check_pixels(pixels, self.preprocess)
        return np.ascontiguousarray(pixels).reshape(len(pixels), -1)
