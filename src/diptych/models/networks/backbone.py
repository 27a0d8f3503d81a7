"""A whole image backbone, fine-tuned from pixels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.registry import Part, register
from diptych.core.shapes import Shaped
from diptych.encoders.image.timm import TimmImageTower
from diptych.models.networks.base import Network, set_pace


@register.network("backbone")
class Backbone(Network):
    """Any timm model without its classifier, over rows of the tower "pixels".

    Args:
        features: numbers in a row, which is size * size * 3.
        model: a timm name, "hf-hub:NAME" or a folder.
        pretrained_weights: start from its weights; otherwise from random ones, and the head's input statistics are
            not fitted on their features.
        weights: a file to start from instead, such as torchvision's resnet50-0676ba61.pth: timm's ResNets name their
            weights as torchvision's do.
        rate: learning rate as a share of the head's.
        frozen_epochs: epochs in which the head learns alone (the warm-up freeze of VSE++).
        frozen_norms: keep batch norms in evaluation mode, with their pretrained statistics; when left out, true for
            pretrained weights.

    Raises ConfigError when the rows are not square images, ModelError when the model is not here.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: int,
        *,
        model: str,
        pretrained_weights: bool = True,
        weights: str = "",
        rate: float = 0.1,
        frozen_epochs: int = 1,
        frozen_norms: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = math.isqrt(features // 3)
        if self.size * self.size * 3 != features:
            raise ConfigError(
                f'the network backbone takes pixels, found {features} features; set image.tower = "pixels"'
            )
        if weights and not pretrained_weights:
            raise ConfigError("weights are what training starts from; leave out pretrained_weights = false, or weights")
        self.pretrained = pretrained_weights  # random features have no statistics that the head should be given
        tower = TimmImageTower(model, pretrained=pretrained_weights, weights=weights or None, device="cpu")
        self.body: Any = tower.unfrozen()
        self.frozen_norms = pretrained_weights if frozen_norms is None else frozen_norms
        self.dim = tower.dim
        self.register_buffer("mean", torch.tensor(tower.preprocess.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(tower.preprocess.std).reshape(1, 3, 1, 1))
        set_pace(self, rate, frozen_epochs)

    @classmethod
    def saved(cls, part: Part) -> Part:
        """Without the weights that training started from, which need not be there later: the folder has its own."""
        if not part.options.get("pretrained_weights", True):
            return part
        kept = {key: value for key, value in part.options.items() if key != "weights"}
        return Part(part.name, {"frozen_norms": True, **kept, "pretrained_weights": False})

    def train(self, mode: bool = True) -> Backbone:
        """As usual, but frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self.frozen_norms:
            for part in self.body.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def forward(self, rows: Shaped[Tensor, "b n"]) -> Tensor:
        """Pooled features of rows of bytes (or of the same values as floats)."""
        pixels = rows.reshape(-1, self.size, self.size, 3).permute(0, 3, 1, 2).float()
        features: Tensor = self.body((pixels - self.mean) / self.std)
        return features
