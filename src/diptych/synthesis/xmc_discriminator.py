"""XMC-GAN's discriminator: real or generated given the text, and the image encoder of the contrastive losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.models.heads import Standardise
from diptych.synthesis.blocks import DownBlock
from diptych.synthesis.frozen_features import FrozenFeatures
from diptych.synthesis.settings import XmcSettings, widths


class DiscriminatorOutput(NamedTuple):
    """What the discriminator makes of images."""

    logit: Float[Tensor, " b"]  # above 0: real and of this text
    embedding: Float[Tensor, "b e"]
    regions: Float[Tensor, "b r e"]
    patches: Float[Tensor, "b r"]  # above 0: real, region by region; (b, 0) where that is not asked


class PretrainedInputs(nn.Module):
    """A frozen network's maps and features as the discriminator reads them: standardised, then 1 x 1 convolutions.

    Source: Projected GANs (Sauer et al. 2021, arXiv 2111.01007): a discriminator on pretrained features learns
    many times faster and from less data than one on pixels.

    Args:
        example: what the frozen network gives for an image.
        channels: side of a map -> channels of the discriminator's own map of that side, which it is added to.
        last: channels of the pooled last map, which the features are added to.
    """

    def __init__(self, example: FrozenFeatures, channels: Mapping[int, int], last: int) -> None:
        super().__init__()
        sides = [one.shape[-1] for one in example.maps]
        self.used = tuple(number for number, side in enumerate(sides) if side in channels)
        if not self.used:
            raise ConfigError(f"no map of the frozen network fits: it has {sides} pixels, expected {sorted(channels)}")
        self.sides = tuple(sides[number] for number in self.used)
        counts = [example.maps[number].shape[1] for number in self.used]
        self.standard = nn.ModuleList(Standardise(count) for count in counts)
        self.maps = nn.ModuleList(
            spectral_norm(nn.Conv2d(count, channels[side], 1)) for count, side in zip(counts, self.sides, strict=True)
        )
        width = example.features.shape[1]
        self.standard_features = Standardise(width)
        self.features = spectral_norm(nn.Linear(width, last))
        self._scale = (last / width) ** 0.5  # so that the size of the sum does not depend on the number of features

    def fit(self, seen: FrozenFeatures) -> None:
        """Standardise by these images."""
        for number, standard in zip(self.used, self.standard, strict=True):
            if isinstance(standard, Standardise):
                standard.fit(seen.maps[number].permute(0, 2, 3, 1).flatten(0, 2).float())
        self.standard_features.fit(seen.features.float())

    def forward(self, seen: FrozenFeatures) -> tuple[dict[int, Tensor], Tensor]:
        """Side -> map to add, and what to add to the pooled last map."""
        maps = {}
        for number, side, standard, convolution in zip(self.used, self.sides, self.standard, self.maps, strict=True):
            positions = standard(seen.maps[number].permute(0, 2, 3, 1))
            maps[side] = convolution(positions.permute(0, 3, 1, 2))
        return maps, self.features(self.standard_features(seen.features) * self._scale)


@register.discriminator("xmc")
class XmcDiscriminator(nn.Module):
    """Residual down-blocks with spectral norm, a projection logit, and features of image and regions.

    logit = w h + <V s, h> / sqrt(width) with h the mean of the last map and s the standardised sentence (Miyato
    and Koyama 2018, arXiv 1802.05637). Regions are the positions of the map of `region_side` pixels through a
    1 x 1 convolution.
    Source: XMC-GAN (arXiv 2101.04702), section 4.3.

    With `below` it stands on a frozen network's maps: pixels come in as patches of 4 x 4 beside them.

    Args:
        size: of the image, in pixels.
        features: numbers of a sentence or a word of the text tower.
        settings: widths.
        below: what a frozen network sees in an image, if it is to stand on that.

    Raises ConfigError for a `region_side` that is no map of this size.
    """

    def __init__(self, size: int, features: int, settings: XmcSettings, below: FrozenFeatures | None = None) -> None:
        super().__init__()
        width = settings.discriminator_width or settings.width
        channels = widths(size, width, settings.most)[::-1]
        of_side = dict(zip((size >> step for step in range(len(channels))), channels, strict=True))
        self.below: PretrainedInputs | None = None
        if below is None:
            self.stem = spectral_norm(nn.Conv2d(3, channels[0], 3, padding=1))
        else:
            patch = max(1, size // max(one.shape[-1] for one in below.maps))
            of_side = {side: count for side, count in of_side.items() if side <= size // patch}
            channels = list(of_side.values())
            self.stem = spectral_norm(nn.Conv2d(3, channels[0], patch, stride=patch))
            self.below = PretrainedInputs(below, of_side, channels[-1])
        if settings.region_side not in of_side:
            raise ConfigError(
                f"region_side must be the side of a map of the discriminator, one of {', '.join(map(str, of_side))} "
                f"pixels; found {settings.region_side}"
            )
        self.blocks = nn.ModuleList(
            DownBlock(channels[number], channels[number + 1]) for number in range(len(channels) - 1)
        )
        self.last = DownBlock(channels[-1], channels[-1], down=False)
        self.region_side = settings.region_side
        inner = of_side[settings.region_side]
        self.region = spectral_norm(nn.Conv2d(inner, settings.space, 1))
        self.patch = spectral_norm(nn.Conv2d(inner, 1, 1)) if settings.patches else None
        self.embedding = spectral_norm(nn.Linear(channels[-1], settings.space))
        self.logit = spectral_norm(nn.Linear(channels[-1], 1))
        self.standard = Standardise(features)  # unscaled, features of unit length are too small beside the map
        self.projection = spectral_norm(nn.Linear(features, channels[-1], bias=False))
        self.sentence = nn.Linear(features, settings.space)
        self.word = nn.Linear(features, settings.space)

    def forward(
        self, images: Float[Tensor, "b 3 s s"], sentence: Float[Tensor, "b d"], seen: FrozenFeatures | None = None
    ) -> DiscriminatorOutput:
        """Images in [-1, 1], their texts, and what the frozen network saw in them if it stands on that."""
        maps: dict[int, Tensor] = {}
        more: Tensor | None = None
        if self.below is not None and seen is not None:
            maps, more = self.below(seen)
        x = self.stem(images)
        x = x + maps.get(x.shape[-1], 0)
        regions = x
        for block in self.blocks:
            x = block(x)
            x = x + maps.get(x.shape[-1], 0)
            if x.shape[-1] == self.region_side:
                regions = x
        h = functional.relu(self.last(x)).mean((2, 3))
        if more is not None:
            h = h + functional.relu(more)
        asked = (self.projection(self.standard(sentence)) * h).sum(1) / h.shape[1] ** 0.5
        logit = self.logit(h).squeeze(1) + asked
        regions = functional.relu(regions)
        found = self.region(regions).permute(0, 2, 3, 1).flatten(1, 2)
        local = logit.new_zeros(len(x), 0) if self.patch is None else self.patch(regions).flatten(1)
        return DiscriminatorOutput(logit.float(), self.embedding(h), found, local.float())

    def read(
        self, sentence: Float[Tensor, "b d"], words: Float[Tensor, "b w d"]
    ) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b w e"]]:
        """The text in the space of images and regions."""
        return self.sentence(self.standard(sentence)), self.word(self.standard(words))
