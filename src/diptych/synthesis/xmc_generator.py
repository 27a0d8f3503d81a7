"""XMC-GAN's generator: one stage, modulated by noise, sentence and, for each region, by its words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.shapes import Bool, Float
from diptych.models.heads import Standardise
from diptych.synthesis.blocks import ImageLayer, StandingNorm, UpBlock
from diptych.synthesis.settings import START, XmcSettings, widths

_WORDS_FROM = 2  # the first two blocks (to 16 x 16) see no words
_MAPPED = 512  # numbers of a hidden layer of the mapping


class XmcGenerator(nn.Module):
    """Noise and a text to an image in [-1, 1], or a little beyond (`settings.reach`).

    z and the sentence -> fully connected -> 4 x 4 -> up-blocks. The first two blocks are modulated by
    (z, sentence), the others by (z, sentence, word context of the region). Source: XMC-GAN
    (arXiv 2101.04702), section 4.2. Without `settings.up_first` the first convolution of a block runs before the map
    grows.

    Args:
        size: of the image, in pixels.
        features: numbers of a sentence or a word of the text tower.
        settings: widths.
    """

    def __init__(self, size: int, features: int, settings: XmcSettings) -> None:
        super().__init__()
        channels = widths(size, settings.width, settings.most)
        self.noise = settings.noise
        self.standard = Standardise(features)  # unscaled, features of unit length are too small beside the noise
        self.sentence = _reader(features, settings.sentence_width, settings.mapping)
        with_words = settings.word_attention and len(channels) - 1 > _WORDS_FROM
        self.words = nn.Linear(features, settings.word_width) if with_words else None
        condition = settings.noise + settings.sentence_width
        self.start = nn.Linear(condition, channels[0] * START * START)
        self.blocks = nn.ModuleList(
            UpBlock(
                channels[number],
                channels[number + 1],
                condition,
                settings.word_width if with_words and number >= _WORDS_FROM else 0,
                settings.sharpness,
                up_first=settings.up_first,
            )
            for number in range(len(channels) - 1)
        )
        self.norm = StandingNorm(channels[-1], affine=True)
        self.picture = ImageLayer(channels[-1], settings.reach)
        self.apply(_initialise)

    def forward(
        self,
        noise: Float[Tensor, "b z"],
        sentence: Float[Tensor, "b d"],
        words: Float[Tensor, "b w d"],
        mask: Bool[Tensor, "b w"],
    ) -> Float[Tensor, "b 3 s s"]:
        """`mask` is True where there is a word."""
        condition = torch.cat([noise, self.sentence(self.standard(sentence))], dim=1)
        read = self.words(self.standard(words)) if self.words is not None else words
        h = self.start(condition).unflatten(1, (-1, START, START))
        h = h.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, condition, read, mask)
        made: Tensor = self.picture(functional.relu(self.norm(h)))
        return made


def _reader(features: int, width: int, hidden: int) -> nn.Module:
    """Sentence -> what modulates: linear, or through hidden layers (StyleGAN, arXiv 1812.04948, section 2)."""
    if not hidden:
        return nn.Linear(features, width)
    layers: list[nn.Module] = []
    for number in range(hidden):
        layers += [nn.Linear(features if number == 0 else _MAPPED, _MAPPED), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(_MAPPED, width))


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d | nn.Linear):
        nn.init.orthogonal_(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
