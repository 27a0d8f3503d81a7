"""What a cross-attention network is made of, and how its scores are corrected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diptych.core.checks import at_least, positive, share
from diptych.core.config import stated_without, unknown
from diptych.core.errors import ConfigError

OBJECTIVES = ("captioning", "itm", "vse")
DECODERS = SHARED, SEPARATE = ("shared", "separate")
BLIP = "blip:"  # before the address of a BLIP model of transformers
_STRETCHED = 1.5  # a grid of tokens may be so much wider or higher than the map
TEXT_TO_IMAGE, IMAGE_TO_TEXT = DIRECTIONS = ("text_to_image", "image_to_text")


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of the network, and what is dropped while it trains."""

    width: int = 256  # numbers of each token
    layers: int = 2  # transformer blocks that read the text and look at the image
    heads: int = 4  # of attention; they divide the width
    max_tokens: int = 40  # word pieces of a text; what is longer is cut
    dropout: float = 0.1  # share of numbers dropped within each block
    word_dropout: float = 0.1  # share of input words hidden, so that the network has to use the image
    region_keep: float = 0.75  # share of the regions that a training step sees
    blank: float = 0.1  # share of images replaced by the learnt empty one, which gives log p(text)
    decoders: str = SHARED  # one decoder reads in both directions; separate: one forwards and another backwards
    # of an image or a frame, in the shape of the finest map, which is pooled; 0: one for each place of it
    tokens: int = 0
    # what the word vectors begin with: a text tower ("use"), or a file of word vectors. Empty: at random
    vectors: str = ""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "max_tokens"):
            at_least(f"network.{name}", getattr(self, name), 1)
        if self.width % self.heads:
            raise ConfigError(f"network.width must be a multiple of heads, found {self.width} and {self.heads}")
        for name in ("dropout", "word_dropout", "blank"):
            share(f"network.{name}", getattr(self, name))
        if not 0 < self.region_keep <= 1:
            raise ConfigError(f"network.region_keep must be in (0, 1], found {self.region_keep}")
        at_least("network.tokens", self.tokens, 0)
        if self.decoders not in DECODERS:
            raise unknown("network.decoders", self.decoders, DECODERS)

    def stated(self) -> dict[str, Any]:
        """The fields without those that came later and have their default, so that models keep their fingerprints."""
        return stated_without(self, "decoders", "tokens", "vectors")


def token_grid(finest: tuple[int, int, int], tokens: int) -> tuple[int, int]:
    """Rows and columns of an image's tokens: those of the finest map (channels, rows, columns), or of `tokens` in all.

    Raises ConfigError for a number that makes no grid of about that shape.
    """
    _, rows, columns = finest
    if not tokens:
        return rows, columns
    grids = [(tokens // across, across) for across in range(1, columns + 1) if tokens % across == 0]
    close = [(abs(math.log(down / across * columns / rows)), down, across) for down, across in grids if down <= rows]
    if not close or min(close)[0] > math.log(_STRETCHED):
        fitting = [side * side * rows // columns for side in (4, 5, 6, 7, 8, 10) if side <= columns]
        raise ConfigError(
            f"network.tokens {tokens} makes no grid of the shape of the map, {rows} x {columns}; choose such as "
            f"{', '.join(map(str, fitting)) or rows * columns}"
        )
    return min(close)[1:]


BESIDE = ("matching", "contrastive", "contrastive_texts")


@dataclass(frozen=True)
class ObjectiveSettings:
    """What the network learns from: the paper's captioning likelihood, or one of its two alternatives.

    captioning: -sum of log p(word | words before, image), forwards and backwards.
    itm: does the text belong to the image, yes or no, against wrong partners of the batch.
    vse: hinge between the right pair's score and the wrong ones of the batch.

    Beside captioning, `matching` adds itm, and `contrastive` the cross-entropy of choosing the right image of a text by
    its likelihood h: -log(exp(h(x, y) / temperature) / sum over images x' of the group of exp(h(x', y) / temperature)).
    `contrastive_texts` adds the same over the texts y' of the group, by h(x, y') - log p(y'): what orders texts.
    """

    name: str = "captioning"  # captioning | itm | vse
    label_smoothing: float = 0.1  # captioning
    margin: float = 0.2  # vse
    group: int = 8  # pairs among which the wrong partners are looked for, one text an image
    hardest: bool = True  # itm, vse: the hardest wrong partner alone; false: all of the group, quicker at first
    matching: float = 0.0  # captioning: weight of itm beside it; its score then becomes a part of h
    contrastive: float = 0.0  # captioning: weight of choosing the right image by h
    contrastive_texts: float = 0.0  # captioning: weight of choosing the right text by h less the text's prior
    temperature: float = 1.0  # contrastive, contrastive_texts: nats
    # a group is of records that the dual encoder `model` finds near each other: of each so many; 0: of any records
    mined: int = 0

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise unknown("objective", self.name, OBJECTIVES)
        share("objective.label_smoothing", self.label_smoothing)
        at_least("objective.group", self.group, 2)
        for name in ("margin", *BESIDE, "mined"):
            at_least(f"objective.{name}", getattr(self, name), 0)
        positive("objective.temperature", self.temperature)
        if self.name != "captioning" and self.beside:
            named = " and ".join(f"objective.{name}" for name in BESIDE)
            raise ConfigError(f"{named} stand beside captioning, and the objective is {self.name!r}; leave them out")
        if self.mined and not self.has_partners:
            raise ConfigError(f"captioning alone has no wrong partners to mine; set objective.{' or '.join(BESIDE)}")
        if 0 < self.mined < self.group - 1:
            raise ConfigError(
                f"objective.mined must be at least the {self.group - 1} partners of a group, found {self.mined}"
            )

    @property
    def has_partners(self) -> bool:
        """Whether texts are compared with wrong images."""
        return self.name != "captioning" or bool(self.beside)

    @property
    def beside(self) -> dict[str, float]:
        """The weights of what stands beside captioning, by their names."""
        return {name: getattr(self, name) for name in BESIDE if getattr(self, name)}

    def stated(self) -> dict[str, Any]:
        """The fields without those that came later and have their default, so that models keep their fingerprints."""
        return stated_without(self, *BESIDE, "temperature", "mined")


@dataclass(frozen=True)
class ScoringSettings:
    """How the likelihood becomes comparable between texts, for image -> text.

    score = (h - prior * log p(text)) / words ** length; h is a sum, so without this short and common
    texts win. For text -> image the text is the same for all candidates and h is used as it is.
    """

    prior: float = 1.0
    length: float = 0.0


def check_direction(direction: str) -> None:
    """Raise ConfigError for a direction that is neither text_to_image nor image_to_text."""
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
