"""Cross-encoders: models that look at an image and a text together, and say how likely the text is with the image.

`load_cross_encoder(address)` gives any `CrossEncoder`: one trained here (`TrainedCrossEncoder`, which also describes
images and explains its scores), or a BLIP model of transformers (`blip.BlipCrossEncoder`), which needs PyTorch.
"""

from __future__ import annotations

from diptych.core.protocols import CrossEncoder

from .encoder import TrainedCrossEncoder, load_cross_encoder, load_trained_cross_encoder
from .settings import DIRECTIONS, IMAGE_TO_TEXT, TEXT_TO_IMAGE

__all__ = [
    "DIRECTIONS",
    "IMAGE_TO_TEXT",
    "TEXT_TO_IMAGE",
    "CrossEncoder",
    "TrainedCrossEncoder",
    "load_cross_encoder",
    "load_trained_cross_encoder",
]
