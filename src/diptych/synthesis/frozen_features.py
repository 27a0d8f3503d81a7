"""Frozen networks that give features of images in [-1, 1]: for losses, and for choosing the best round."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.core.registry import Part, build, register
from diptych.core.shapes import Float
from diptych.synthesis.settings import START


class FrozenFeatures(NamedTuple):
    """What a frozen network sees: one vector an image, and maps, finest first."""

    features: Float[Tensor, "b f"]
    maps: tuple[Float[Tensor, "b c y x"], ...]


class FrozenNetwork(nn.Module):
    """A network for images in [-1, 1] that always stays in evaluation mode.

    Args:
        size: pixels that images are scaled to.
        preprocess: what the network was trained on.
    """

    mean: Tensor
    std: Tensor
    is_random = False  # whether its weights are

    def __init__(self, size: int, preprocess: Preprocess) -> None:
        super().__init__()
        self.size = size
        for name, values in (("mean", preprocess.mean), ("std", preprocess.std)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Always in evaluation mode."""
        del mode
        return super().train(False)

    def prepared(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 t t"]:
        """Normalised, and scaled by bilinear interpolation."""
        pixels = ((images + 1) * 127.5 - self.mean.to(images.dtype)) / self.std.to(images.dtype)
        if pixels.shape[-1] != self.size:
            pixels = functional.interpolate(pixels, size=self.size, mode="bilinear", align_corners=False)
        return pixels


@register.frozen_network("layout")
class ColourLayout(nn.Module):
    """No network at all: the colours of fields. For tests, and where no pretrained network is wanted."""

    def __init__(self) -> None:  # its options are none, not those of any module
        super().__init__()

    def extract(self, images: Float[Tensor, "b 3 s s"]) -> FrozenFeatures:
        """192 numbers, the colours of 8 x 8 fields less their mean, and maps of an eighth and a quarter of the size."""
        small = functional.adaptive_avg_pool2d(images, 8).flatten(1)
        maps = tuple(functional.avg_pool2d(images, share) for share in (2, 4) if images.shape[-1] // share >= START)
        return FrozenFeatures(small - small.mean(1, keepdim=True), maps)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """The features alone."""
        return self.extract(images).features


@register.frozen_network("efficientnet-lite0")
class EfficientNetFeatures(FrozenNetwork):
    """EfficientNet-Lite0's features of several depths, each depth of length one, differentiable.

    Args:
        size: pixels that images are scaled to; a multiple of 32.
    """

    def __init__(self, size: int = 128) -> None:
        from diptych.encoders.image.efficientnet_lite import LITE0, STAGES, imagenet

        if size < 32 or size % 32:
            raise ConfigError(f"the size that the frozen network sees must be a multiple of 32, found {size}")
        super().__init__(size, LITE0.preprocess)
        self.net = imagenet(LITE0)
        self._read = STAGES

    def extract(self, images: Float[Tensor, "b 3 s s"]) -> FrozenFeatures:
        """3808 numbers, and the maps of a quarter, an eighth and a sixteenth of the size."""
        x = self.net.bn1(self.net.conv_stem(self.prepared(images)))
        maps, pooled = [], []
        for number, block in enumerate(self.net.blocks):
            x = block(x)
            if number in _MAPS:
                maps.append(x)
            if number in self._read:
                pooled.append(_pooled(x))
        pooled.append(_pooled(self.net.bn2(self.net.conv_head(x))))
        return FrozenFeatures(torch.cat(pooled, dim=1), tuple(maps))

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """The features alone."""
        return self.extract(images).features


_MAPS = (1, 2, 4)  # stages whose maps are a quarter, an eighth and a sixteenth of the image


def _pooled(x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b f"]:
    return functional.normalize(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1).float(), dim=1)


def example_features(frozen: nn.Module | None, size: int) -> FrozenFeatures:
    """The shapes that a frozen network gives for images of `size` pixels, as an example of one image."""
    if frozen is None:
        raise ConfigError("a discriminator on pretrained features needs a frozen network; set frozen_network")
    with torch.no_grad():
        found: FrozenFeatures = frozen.extract(torch.zeros(1, 3, size, size))  # type: ignore[operator]
    return found


def frozen_network(part: Part) -> nn.Module:
    """The registered frozen network of that name. Raises ConfigError for an unknown one or its options."""
    module: nn.Module = build("frozen_network", part)
    module.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
