"""X-MRS's networks: a generator and a discriminator in the manner of StackGAN-v2, on one embedding.

Source: X-MRS (arXiv 2012.01345), section 3.4, after StackGAN++ (arXiv 1710.10916). One output size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.registry import register
from diptych.core.shapes import Bool, Float
from diptych.models.heads import Standardise
from diptych.synthesis.blocks import ImageLayer, StandingNorm
from diptych.synthesis.settings import START, XMrsSettings, widths


class SampledImages(NamedTuple):
    """Images, and the condition that was sampled for them: c = mean + exp(log_variance / 2) * epsilon."""

    images: Float[Tensor, "b 3 s s"]
    mean: Float[Tensor, "b c"]
    log_variance: Float[Tensor, "b c"]


class XMrsGenerator(nn.Module):
    """An embedding and noise to an image in [-1, 1], or a little beyond.

    Conditioning augmentation: embedding -> linear -> GLU -> mean and log variance -> c. (z, c) -> fully connected
    -> 4 x 4 -> up-blocks to half the size; c joins again, two residual blocks, a last up-block, tanh.

    Args:
        size: of the image, in pixels.
        features: numbers of the embedding.
        settings: widths.
    """

    def __init__(self, size: int, features: int, settings: XMrsSettings) -> None:
        super().__init__()
        channels = widths(size, settings.width, settings.most)
        self._drawn = settings.condition_width
        self.noise = settings.noise + settings.condition_width  # z and epsilon
        self.standard = Standardise(features)
        self.condition = _moments(features, settings.condition_width)
        self.start = nn.Linear(self.noise, 2 * channels[0] * START * START, bias=False)
        self.start_norm = StandingNorm(2 * channels[0], affine=True)
        self.ups = nn.ModuleList(_up(channels[number], channels[number + 1]) for number in range(len(channels) - 2))
        inner = channels[-2]
        self.join = nn.Sequential(_convolution(inner + settings.condition_width, 2 * inner), nn.GLU(dim=1))
        self.residual = nn.ModuleList(_Residual(inner) for _ in range(2))
        self.last = _up(inner, channels[-1])
        self.picture = ImageLayer(channels[-1])

    def sample(self, noise: Float[Tensor, "b z"], embedding: Float[Tensor, "b d"]) -> SampledImages:
        """Images with the mean and log variance of their condition."""
        z, epsilon = noise[:, : -self._drawn], noise[:, -self._drawn :]
        moments = functional.glu(self.condition(self.standard(embedding)), dim=1)
        mean, log_variance = moments.chunk(2, dim=1)
        c = mean + torch.exp(0.5 * log_variance) * epsilon
        h = self.start(torch.cat([z, c], dim=1)).unflatten(1, (-1, START, START))
        h = functional.glu(self.start_norm(h.contiguous(memory_format=torch.channels_last)), dim=1)
        for up in self.ups:
            h = up(h)
        spread = c[:, :, None, None].expand(-1, -1, *h.shape[2:])
        h = self.join(torch.cat([h, spread.to(h.dtype)], dim=1))
        for block in self.residual:
            h = block(h)
        return SampledImages(self.picture(self.last(h)), mean, log_variance)

    def forward(
        self,
        noise: Float[Tensor, "b z"],
        sentence: Float[Tensor, "b d"],
        words: Float[Tensor, "b w d"],
        mask: Bool[Tensor, "b w"],
    ) -> Float[Tensor, "b 3 s s"]:
        """As `XmcGenerator`; words are not used."""
        del words, mask
        return self.sample(noise, sentence).images


@register.discriminator("x_mrs")
class XMrsDiscriminator(nn.Module):
    """Stride-2 convolutions to 4 x 4; a real/fake logit given the condition, and a class for each image.

    Args:
        size: of the image, in pixels.
        classes: of the records; below 2 there is no class head.
        settings: widths.
    """

    def __init__(self, size: int, classes: int, settings: XMrsSettings) -> None:
        super().__init__()
        channels = widths(size, settings.discriminator_width or settings.width, settings.most)[::-1]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip([3, *channels[1:-1]], channels[1:], strict=True)):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=number == 0))
            if number:
                layers.append(StandingNorm(after, affine=True))
            layers.append(nn.LeakyReLU(0.2))
        self.trunk = nn.Sequential(*layers)
        last = channels[-1]
        self.join = nn.Sequential(_convolution(last + settings.condition_width, last), nn.LeakyReLU(0.2))
        self.logit = nn.Conv2d(last, 1, START)
        self.label = nn.Conv2d(last, classes, START) if classes > 1 else None

    def forward(
        self, images: Float[Tensor, "b 3 s s"], condition: Float[Tensor, "b c"]
    ) -> tuple[Float[Tensor, " b"], Tensor | None]:
        """Logits of being real, and of the classes (b, k)."""
        h = self.trunk(images)
        spread = condition[:, :, None, None].expand(-1, -1, START, START)
        joined = self.join(torch.cat([h, spread.to(h.dtype)], dim=1))
        label = None if self.label is None else self.label(h).flatten(1).float()
        return self.logit(joined).flatten().float(), label


def _moments(features: int, width: int) -> nn.Linear:
    """Embedding -> gated mean and log variance of the condition, which begins with the spread of an embedding's own.

    With PyTorch's first weights the mean varies by a twelfth of the noise that is drawn around it: the embedding has
    hardly any effect, and hundreds of steps pass until it has. Here the mean's variance begins at about 1, and the
    noise around it at about e^-4.
    """
    layer = nn.Linear(features, 4 * width)
    with torch.no_grad():
        layer.weight[:width] *= 12**0.5
        layer.bias[width : 2 * width] = -8.0  # halved by the gate
    return layer


def _convolution(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), StandingNorm(out, affine=True))


def _up(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), _convolution(channels, 2 * out), nn.GLU(dim=1))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            _convolution(channels, 2 * channels), nn.GLU(dim=1), _convolution(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.block(x)
        return out
