"""A small convolutional network over log-mel spectrograms, trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.protocols import SOUND_BANDS
from diptych.core.registry import register
from diptych.core.shapes import Bool, Float, Shaped
from diptych.models.networks.base import Network

_KERNELS = (9, 5, 5, 5)  # frames that a layer reads, then as many as the last
_STRIDES = (4, 2, 1, 1)  # every so many frames; 80 ms between two states of the network in all


@register.network("sound_conv")
class SoundConv(Network):
    """Convolutions over time on rows of the tower "log-mel", or "spoken"; then the mean and the maximum over time.

    Each sound's spectrogram is first shifted and scaled to mean 0 and deviation 1, so that how loud it was recorded
    makes no difference. What stands behind the end of a sound is masked in every layer.

    Args:
        features: numbers in a row, 64 for each frame.
        widths: channels of each layer.
        dropout: share of features that are set to zero while training.

    Raises ConfigError when the rows are no spectrograms, or without a layer.
    """

    def __init__(self, features: int, *, widths: Sequence[int] = (128, 256, 256), dropout: float = 0.1) -> None:
        super().__init__()
        if features % SOUND_BANDS:
            raise ConfigError(
                f"the network sound_conv takes rows of {SOUND_BANDS} bands, found {features} features; set the tower "
                '"log-mel" (image side) or "spoken" (text side)'
            )
        if not widths:
            raise ConfigError("the network sound_conv needs at least one layer; found widths = []")
        for width in widths:
            at_least("widths", width, 1)
        self.layers = nn.ModuleList()
        self.strides = [_STRIDES[min(place, len(_STRIDES) - 1)] for place in range(len(widths))]
        below = SOUND_BANDS
        for place, width in enumerate(widths):
            kernel = _KERNELS[min(place, len(_KERNELS) - 1)]
            convolution = nn.Conv1d(below, width, kernel, self.strides[place], kernel // 2, bias=False)
            self.layers.append(nn.Sequential(convolution, nn.BatchNorm1d(width), nn.ReLU()))
            below = width
        self.dropout = nn.Dropout(dropout)
        self.dim = 2 * below

    def forward(self, rows: Shaped[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """Features of rows of bytes, or of the same values as floats."""
        levels = rows.reshape(rows.shape[0], -1, SOUND_BANDS).float()
        real = levels.amax(dim=2) > 0  # a frame has levels from 1 on
        states = _normalised(levels, real).transpose(1, 2)
        for layer, stride in zip(self.layers, self.strides, strict=True):
            real = real[:, ::stride]
            states = layer(states) * real.unsqueeze(1)
        count = real.sum(dim=1, keepdim=True).clamp(min=1)
        mean = states.sum(dim=2) / count
        features: Tensor = self.dropout(torch.cat([mean, states.amax(dim=2)], dim=1))
        return features


def _normalised(levels: Float[Tensor, "b t c"], real: Bool[Tensor, "b t"]) -> Float[Tensor, "b t c"]:
    """Levels of each sound with mean 0 and deviation 1 over its own frames; 0 behind its end."""
    mask = real.unsqueeze(2).float()
    count = (mask.sum(dim=(1, 2), keepdim=True) * levels.shape[2]).clamp(min=1)
    mean = (levels * mask).sum(dim=(1, 2), keepdim=True) / count
    apart = (levels - mean) * mask
    deviation = (apart.square().sum(dim=(1, 2), keepdim=True) / count + 1).sqrt()  # 1: silence is divided too
    return apart / deviation
