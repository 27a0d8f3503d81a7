"""Train on an image tower of your own: python examples/own_image_tower.py pairs.csv."""

import sys

import numpy as np

import diptych
from diptych.core.protocols import Preprocess


@diptych.register.image_tower("grid")
class Grid:
    """Mean colours of a grid of fields: no network at all."""

    def __init__(self, side: int = 8) -> None:
        self.side, self.dim = side, side * side * 3
        self.preprocess = Preprocess(size=8 * side)
        self.fingerprint = f"grid-1-{side}"

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Features (b, d) of prepared RGB images (b, size, size, 3)."""
        fields = pixels.reshape(len(pixels), self.side, 8, self.side, 8, 3).mean((2, 4))
        return fields.reshape(len(pixels), self.dim).astype(np.float32) / 255


config = {"name": "grid", "image": {"tower": {"name": "grid", "side": 4}}, "text": {"tower": "use"}, "loss": "info_nce"}
run = diptych.train(config | {"dim": 32, "training": {"epochs": 3}}, sys.argv[1])
print(run.folder, run.scores)
