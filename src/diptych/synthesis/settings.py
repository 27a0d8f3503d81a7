"""Settings of the generators and their discriminators; this module needs no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diptych.core.config import check_least, stated_without, unknown
from diptych.core.errors import ConfigError

SIZES = (16, 32, 64, 128, 256)  # pixels
AUGMENTATIONS = ("colour", "translation", "cutout")
START = 4  # pixels of the first map


def check_size(size: int) -> None:
    """Raise ConfigError for an image's size that the generators cannot make."""
    if size not in SIZES:
        raise ConfigError(f"size must be a power of two, one of {', '.join(map(str, SIZES))} pixels; found {size}")


def check_augmentations(names: tuple[str, ...]) -> None:
    """Raise ConfigError for an unknown augmentation."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown("augmentation", name, AUGMENTATIONS)


@dataclass(frozen=True)
class XmcSettings:
    """XMC-GAN: sizes of both networks, and how much each loss counts (0 switches it off)."""

    width: int = 32  # channels of the finest map; coarser ones have up to `most` times as many
    most: int = 8  # largest multiple of `width` of a coarser map
    noise: int = 128  # numbers of z
    sentence_width: int = 128  # of the sentence where it modulates
    mapping: int = 0  # hidden layers between the sentence and what modulates; 0 is a linear map, as in the paper
    word_width: int = 64  # of the words where regions attend to them
    word_attention: bool = True  # modulate from 16 x 16 on by each region's own words
    sharpness: float = 15.0  # rho_0: how sharply a region chooses among the words
    discriminator_width: int = 0  # channels of the finest map of the discriminator; 0 is `width`
    patches: float = 0.0  # the hinge loss of each region on its own, beside that of the whole image
    pretrained: bool = False  # the discriminator stands on the frozen network's maps instead of pixels alone
    space: int = 256  # numbers of an embedding in the contrastive losses
    region_side: int = 8  # pixels of the map whose positions are the regions
    sentence: float = 1.0  # sentence <-> image
    word: float = 1.0  # words <-> regions
    image: float = 1.0  # generated <-> real, in the discriminator's features
    frozen: float = 1.0  # generated <-> real, in the features of the frozen network
    reconstruct: float = 0.0  # distance of the real image from the nearest of some generated ones; not in the paper
    nearest: int = 4  # how many: a text may have several images, and each noise may take one
    temperature: float = 0.1  # of the four contrastive losses above: cosines are divided by it
    region_sharpness: float = 5.0  # rho_1: how sharply a word chooses among the regions
    word_sharpness: float = 5.0  # rho_2: how much the best fitting word counts
    # where this differs from the paper; the other values are the paper's
    standardise: bool = True  # text features to mean 0 and deviation 1; False: as the tower gives them
    centre: bool = True  # image features without the batch's mean before their cosines; False: as they are
    word_mean: bool = True  # the score of words and regions is a mean over the words; False: the sum
    up_first: bool = False  # a block of the generator enlarges its map before both convolutions, at four times the cost
    reach: float = 1.1  # colours are reach * tanh; 1.0 is a plain tanh
    mean_colour: bool = True  # the first images have the mean colour of the real ones; False: grey

    def stated(self) -> dict[str, Any]:
        """The fields; those that came later are left out where they have their default."""
        return stated_without(self, "standardise", "centre", "word_mean", "up_first", "reach", "mean_colour")

    def __post_init__(self) -> None:
        check_least(self, width=1, most=1, noise=1, sentence_width=1, word_width=1, space=1, region_side=START)
        check_least(self, discriminator_width=0, mapping=0, nearest=1)
        check_least(self, patches=0, sentence=0, word=0, image=0, frozen=0, reconstruct=0)  # the weights
        for name in ("temperature", "region_sharpness", "word_sharpness", "sharpness", "reach"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be above 0, found {getattr(self, name)}")
        if self.region_side & (self.region_side - 1):
            raise ConfigError(f"region_side must be a power of two, found {self.region_side}")


@dataclass(frozen=True)
class XMrsSettings:
    """X-MRS's synthesis: sizes of both networks, and how much each loss counts (0 switches it off)."""

    width: int = 32  # channels of the finest map; coarser ones have up to `most` times as many
    most: int = 8  # largest multiple of `width` of a coarser map
    discriminator_width: int = 0  # the same of the discriminator; 0 is `width`
    noise: int = 100  # numbers of z
    condition_width: int = 128  # of the condition that is drawn around the embedding
    encoder: str = "base"  # the frozen dual encoder: name or folder of a model
    encoder_size: int = 0  # pixels of a generated image when the encoder sees it; 0 is the encoder's own size
    condition: str = "text"  # text | image: whose embedding the generator gets
    classes: float = 1.0  # cross-entropy of the record's class, where records have one
    kl: float = 2.0  # Kullback-Leibler divergence of the drawn condition from a standard normal
    to_image: float = 32.0  # distance to the image's embedding, as the frozen encoder sees it
    to_text: float = 32.0  # and to the text's

    def __post_init__(self) -> None:
        check_least(self, width=1, most=1, discriminator_width=0, noise=1, condition_width=1)
        check_least(self, classes=0, kl=0, to_image=0, to_text=0)  # the weights
        if self.encoder_size < 0 or self.encoder_size % 32:
            raise ConfigError(f"encoder_size must be a multiple of 32 pixels, found {self.encoder_size}")
        if self.condition not in ("text", "image"):
            raise unknown("condition", self.condition, ("text", "image"))


def widths(size: int, width: int, most: int) -> list[int]:
    """Channels of each map from 4 x 4 to `size`: halved from step to step, never above `most` times the last.

    For example 64 pixels, width 32, most 8: [256, 256, 128, 64, 32].
    """
    check_size(size)
    steps = int(math.log2(size // START))
    return [width * min(most, 2**step) for step in range(steps, -1, -1)]
