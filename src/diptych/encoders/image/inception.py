"""Inception-v3 as FID, KID and IS are defined by it. Needs `torch-fidelity` and its weights file.

Nothing is downloaded: the file is `weights-inception-2015-12-05-6726825d.pth` of the torch-fidelity project.
Only with that very file are the numbers called FID, KID and IS.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.core.errors import ModelError
from diptych.core.extras import need
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.compat import import_torchvision

OFFICIAL = "6726825d"  # first digits of the SHA-256 of the official weights
FEATURES, CLASSES = 2048, 1008
_BATCH = 32


class Inception:
    """Features of the last pooling layer, and class probabilities, of images of any size."""

    dim = FEATURES

    def __init__(self, weights: Path) -> None:
        if not weights.is_file():
            raise ModelError(f"no Inception weights at {weights}; FID needs weights-inception-2015-12-05-6726825d.pth")
        self._weights = weights

    @cached_property
    def is_official(self) -> bool:
        """Whether the weights are those that published numbers were made with."""
        with self._weights.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest().startswith(OFFICIAL)

    @cached_property
    def _net(self) -> Any:
        import_torchvision()
        make = need("torch_fidelity.feature_extractor_inceptionv3", "FID").FeatureExtractorInceptionV3
        try:
            torch.load(self._weights, map_location="cpu", weights_only=True)  # torch-fidelity itself would unpickle
            return make("inception", [str(FEATURES), "logits"], str(self._weights))
        except Exception as error:  # no weights, or of another network: torch raises many kinds
            raise ModelError(f"{self._weights} are not the weights of torch-fidelity's Inception: {error}") from error

    def extract(
        self, images: UInt8[np.ndarray, "n h w 3"]
    ) -> tuple[Float32[np.ndarray, "n 2048"], Float32[np.ndarray, "n 1008"]]:
        """Features and class probabilities. Raises MissingExtraError without torch-fidelity."""
        features, probabilities = [], []
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH])).permute(0, 3, 1, 2)
                pooled, logits = self._net(batch)
                features.append(pooled.float().numpy())
                probabilities.append(torch.softmax(logits.float(), dim=1).numpy())
        return np.concatenate(features), np.concatenate(probabilities)
