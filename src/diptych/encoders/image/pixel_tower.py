"""Prepared pixels as a tower's rows: what image networks that are fine-tuned whole start from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.config import from_dict
from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.core.registry import Part, register
from diptych.core.shapes import UInt8
from diptych.encoders.inputs import check_pixels


@register.image_tower("pixels", "pixels as they are, below the networks backbone and joint_image")
class PixelTower:
    """RGB images as rows of bytes, prepared as `Preprocess` says; the network above it normalises them.

    A row is `size * size * 3` bytes on disk: 150 KB at 224 pixels, 0.9 GB for 6,000 images and one view.

    Args:
        size, mode: as of `Preprocess`.
        more: its other fields, but for mean and std.
    """

    storage = "uint8"

    def __init__(self, size: int = 224, mode: str = "squash", more: Mapping[str, Any] | None = None) -> None:
        if mode == "sound":
            raise ConfigError("pixels are of images; for sounds set the tower log-mel")
        if mode == "patches" and not more:
            raise ConfigError("pixels makes squares, not patches; choose mode squash, crop, shortest or longest")
        fields = {"size": size, "mode": mode, **(more or {}), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        self.preprocess = from_dict(Preprocess, fields, "the tower pixels")
        self.dim = math.prod(self.preprocess.shape)
        self.fingerprint = fingerprint.of_json(["pixels", size, mode, *([dict(more)] if more else [])])

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b d"]:
        """The images, flattened. Raises ModelError for another type or size."""
        check_pixels(pixels, self.preprocess)
        return np.ascontiguousarray(pixels).reshape(len(pixels), -1)


def pixels_for(preprocess: Preprocess) -> Part:
    """The tower of pixels that are prepared as another tower wants them, as a config names it."""
    stated = preprocess.stated()
    more = {name: value for name, value in stated.items() if name not in ("size", "mode", "mean", "std")}
    return Part("pixels", {"size": preprocess.size, "mode": preprocess.mode, **({"more": more} if more else {})})
