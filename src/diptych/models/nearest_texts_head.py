"""The head of CkNN in PyTorch, for what needs a saved model's gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float

from .heads import Head, Standardise


@register.head("nearest_texts")
class NearestTextsHead(Head):
    """An image becomes the mean of what is said of the training images nearest to it; made by the fit `cknn`.

    Standardise → Linear → L2-normalise, the nearest rows of `images` by the cosine, the mean of their `texts`,
    L2-normalised. The gradient is 0 everywhere: which images are nearest does not change with a small change.

    Args:
        features, dim: width of the tower's features, and of the space.
        images: training images that the head holds.
        neighbours: how many are averaged.
    """

    images: Tensor
    texts: Tensor

    def __init__(self, features: int, dim: int, *, images: int, neighbours: int) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.linear = nn.Linear(features, dim)
        self.register_buffer("images", torch.zeros(images, dim))
        self.register_buffer("texts", torch.zeros(images, dim))
        self.neighbours = neighbours
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> NearestTextsHead:
        """Raises ConfigError when it is to be trained."""
        if mode:
            raise ConfigError('the head nearest_texts cannot be trained; set fit = "cknn" in place of a loss')
        return super().train(mode)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        mapped = functional.normalize(self.linear(self.standardise(features)), dim=-1)
        nearest = (mapped @ self.images.T).topk(self.neighbours, dim=1).indices
        return functional.normalize(self.texts[nearest].mean(1), dim=-1)
