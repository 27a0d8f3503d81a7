"""Frozen networks that look at pictures in [-1, 1]: for loss (2), for choosing the best step, for X-MRS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.config import Part, check_options, unknown
from diptych.core.errors import ConfigError


class Layout(nn.Module):
    """No network at all: the colours of 8 x 8 fields. For tests, and where no pretrained network is wanted."""

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """192 numbers, centred."""
        small = functional.adaptive_avg_pool2d(pictures, 8).flatten(1)
        return small - small.mean(1, keepdim=True)


class EfficientNetEyes(nn.Module):
    """EfficientNet-Lite0's pooled features of several depths, each depth of length one, differentiable.

    Args:
        size: pixels that pictures are scaled to; a multiple of 32.
    """

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        from diptych.encoders.image.efficientnet_lite import LITE0, imagenet

        if size < 32 or size % 32:
            raise ConfigError(f"the size that the frozen network sees must be a multiple of 32, found {size}")
        self.size = size
        self.net = imagenet(LITE0)
        channels = [2 * count for count in (*LITE0.channels, LITE0.last_map[0])]
        self.depths = channels
        (self.mean,), (self.std,) = {*LITE0.preprocess.mean}, {*LITE0.preprocess.std}

    def train(self, mode: bool = True) -> EfficientNetEyes:
        """Always in evaluation mode."""
        del mode
        return super().train(False)

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """3808 numbers."""
        pixels = ((pictures + 1) * 127.5 - self.mean) / self.std
        if pixels.shape[-1] != self.size:
            pixels = functional.interpolate(pixels, size=self.size, mode="bilinear", antialias=False)
        features = self.net(pixels)[0].float()
        return torch.cat([functional.normalize(part, dim=1) for part in features.split(self.depths, dim=1)], dim=1)


_TABLE: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "efficientnet-lite0": (EfficientNetEyes, ("size",)),
    "layout": (Layout, ()),
}


def eyes(part: Part) -> nn.Module:
    """The frozen network of that name: efficientnet-lite0 (option `size`) or layout. Raises ConfigError."""
    if part.name not in _TABLE:
        raise unknown("frozen network", part.name, _TABLE)
    make, options = _TABLE[part.name]
    check_options(part.options, options, f"frozen network {part.name!r}")
    module: nn.Module = make(**part.options)
    return module.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
