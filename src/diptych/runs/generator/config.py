"""What `diptych train` can be told for a generator of pictures; TOML twins in configs/synthesis/."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.models.card import CardText
from diptych.runs.config import DataConfig
from diptych.runs.unused import refuse_unused
from diptych.synthesis.conditions import ENCODER
from diptych.synthesis.game import DISCRIMINATOR, GENERATOR
from diptych.synthesis.settings import XmcSettings, XMrsSettings, check_augmentations, check_size
from diptych.training.settings import TrainingSettings

KIND = "synthesis"


@dataclass(frozen=True)
class TextSettings:
    """Where text features come from."""

    # a registered tower, "model:NAME_OR_FOLDER" for that model's own, "encoder:NAME_OR_FOLDER" for its space
    tower: Part = field(default_factory=lambda: Part("use"))
    max_words: int = 12  # of a text; the sentence vector reads the whole text. X-MRS reads no words

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ConfigError(f"max_words must be at least 1, found {self.max_words}")


@dataclass(frozen=True)
class SynthesisConfig:
    """Everything that `diptych train` needs for a generator of pictures."""

    name: str
    kind: str = KIND
    seed: int = 0
    size: int = 64  # pixels
    steps: int = 500  # batches a round; after each there are samples, a line in the log and a checkpoint
    discriminator_steps: int = 2  # for one of the generator
    discriminator_rate: float = 4.0  # its learning rate, as a multiple of training.learning_rate
    init: str = ""  # a generator, by name or folder, whose weights are the starting point; its opponent begins anew
    replay: bool = True  # on one GPU: hold all pairs there, record each side's step once and replay it
    augment: tuple[str, ...] = ("colour", "translation", "cutout")
    eyes: Part = field(default_factory=lambda: Part("efficientnet-lite0"))  # frozen; compares generated with real
    text: TextSettings = field(default_factory=TextSettings)
    xmc: XmcSettings | None = None  # one of the two designs
    x_mrs: XMrsSettings | None = None
    data: DataConfig = field(default_factory=lambda: DataConfig(views=("full",)))
    training: TrainingSettings = field(default_factory=TrainingSettings)  # an epoch is a round
    card: CardText = field(default_factory=CardText)

    def __post_init__(self) -> None:
        if self.kind != KIND:
            raise ConfigError(f'kind must be "{KIND}" for a generator of pictures, found {self.kind!r}')
        if (self.xmc is None) == (self.x_mrs is None):
            raise ConfigError("a generator has one design; give either [xmc] or [x_mrs]")
        refuse_unused(self.data, "a generator")
        check_size(self.size)
        check_augmentations(self.augment)
        for name, low in (("seed", 0), ("steps", 1), ("discriminator_steps", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, found {getattr(self, name)}")
        if not 0 < self.discriminator_rate < math.inf:
            raise ConfigError(f"discriminator_rate must be above 0, found {self.discriminator_rate}")
        if self.training.accumulate != 1 or self.training.chunk:
            raise ConfigError("each batch is one side's turn: leave training.accumulate at 1 and training.chunk at 0")

    @property
    def design(self) -> str:
        """Which of the two designs it is."""
        return "xmc" if self.xmc else "x_mrs"

    @property
    def condition(self) -> str:
        """Whose embedding the generator is given."""
        return self.x_mrs.condition if self.x_mrs else "text"

    @property
    def text_part(self) -> Part:
        """The text tower: for X-MRS the space of its encoder."""
        return Part(f"{ENCODER}{self.x_mrs.encoder}") if self.x_mrs else self.text.tower

    @property
    def max_words(self) -> int:
        """Words of a text that regions look at."""
        return 0 if self.x_mrs else self.text.max_words

    @property
    def order(self) -> tuple[str, ...]:
        """Whose turn it is, step by step, over and over."""
        return (DISCRIMINATOR,) * self.discriminator_steps + (GENERATOR,)
