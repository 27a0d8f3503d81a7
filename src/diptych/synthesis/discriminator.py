"""XMC-GAN's discriminator: real or generated given the text, and the image encoder of the contrastive losses."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from diptych.core.errors import ConfigError
from diptych.synthesis.blocks import DownBlock, Standard
from diptych.synthesis.settings import START, XmcSettings, widths


class Seen(NamedTuple):
    """What the discriminator makes of pictures."""

    logit: Float[Tensor, " b"]  # above 0: real and of this text
    embedding: Float[Tensor, "b e"]
    regions: Float[Tensor, "b r e"]


class XmcDiscriminator(nn.Module):
    """Residual down-blocks with spectral norm, a projection logit, and features of picture and regions.

    logit = w h + <V s, h> with h the summed last map and s the sentence (Miyato and Koyama 2018,
    arXiv 1802.05637). Regions are the positions of the map of `region_side` pixels through a 1 x 1 convolution.
    Source: XMC-GAN (arXiv 2101.04702), section 4.3.

    Args:
        size: of the picture, in pixels.
        features: numbers of a sentence or a word of the text tower.
        settings: widths.

    Raises ConfigError for a `region_side` that is no map of this size.
    """

    def __init__(self, size: int, features: int, settings: XmcSettings) -> None:
        super().__init__()
        width = settings.discriminator_width or settings.width
        channels = widths(size, width, settings.most)[::-1]
        if not START <= settings.region_side < size:
            raise ConfigError(
                f"region_side must be at least {START} and below size, {size} pixels; found {settings.region_side}"
            )
        self.stem = spectral_norm(nn.Conv2d(3, channels[0], 3, padding=1))
        self.blocks = nn.ModuleList(
            DownBlock(channels[number], channels[number + 1]) for number in range(len(channels) - 1)
        )
        self.last = DownBlock(channels[-1], channels[-1], down=False)
        self.region_side = settings.region_side
        region_channels = dict(zip((size >> step for step in range(len(channels))), channels, strict=True))
        self.region = spectral_norm(nn.Conv2d(region_channels[settings.region_side], settings.space, 1))
        self.embedding = spectral_norm(nn.Linear(channels[-1], settings.space))
        self.logit = spectral_norm(nn.Linear(channels[-1], 1))
        self.standard = Standard(features)
        self.projection = nn.Linear(features, channels[-1], bias=False)
        self.sentence = nn.Linear(features, settings.space)
        self.word = nn.Linear(features, settings.space)

    def forward(self, pictures: Float[Tensor, "b 3 s s"], sentence: Float[Tensor, "b d"]) -> Seen:
        """Pictures in [-1, 1] and their texts."""
        x = self.stem(pictures)
        regions = x
        for block in self.blocks:
            x = block(x)
            if x.shape[-1] == self.region_side:
                regions = x
        h = functional.relu(self.last(x)).sum((2, 3))
        logit = self.logit(h).squeeze(1) + (self.projection(self.standard(sentence)) * h).sum(1)
        found = self.region(functional.relu(regions)).flatten(2).transpose(1, 2)
        return Seen(logit.float(), self.embedding(h), found)

    def read(
        self, sentence: Float[Tensor, "b d"], words: Float[Tensor, "b w d"]
    ) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b w e"]]:
        """The text in the space of pictures and regions."""
        return self.sentence(self.standard(sentence)), self.word(self.standard(words))

