"""Settings of a generator's training; in TOML they stand in configs/synthesis/."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from diptych.core.config import Part, check_least, stated_without, unknown
from diptych.core.errors import ConfigError
from diptych.runs.config import DataConfig, TrainConfig
from diptych.synthesis.adversarial_losses import DISCRIMINATOR, GENERATOR
from diptych.synthesis.conditions import ENCODER
from diptych.synthesis.settings import XmcSettings, XMrsSettings, check_augmentations, check_size
from diptych.synthesis.words import ALONE, WAYS


@dataclass(frozen=True)
class TextSettings:
    """Where text features come from."""

    # a registered tower, "model:NAME_OR_FOLDER" for that model's own, "encoder:NAME_OR_FOLDER" for its space
    tower: Part = field(default_factory=lambda: Part("use"))
    max_words: int = 12  # of a text; the sentence vector reads the whole text. X-MRS reads no words
    words: str = ALONE  # each word embedded on its own; or in_context: the tower's state of each of its tokens

    def __post_init__(self) -> None:
        check_least(self, max_words=1)
        if self.words not in WAYS:
            raise unknown("way of reading words", self.words, WAYS)

    def stated(self) -> dict[str, Any]:
        """The fields; how words are read is left out where each is read alone."""
        return stated_without(self, "words")


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(TrainConfig):
    """Everything that the training of a generator needs; an epoch of `training` is a round of `steps`."""

    kind: str = "generator"
    size: int = 64  # pixels
    steps: int = 500  # batches a round; after each there are samples, a line in the log and a checkpoint
    discriminator_steps: int = 2  # for one of the generator
    discriminator_rate: float = 4.0  # its learning rate, as a multiple of training.learning_rate
    init: str = ""  # a generator whose weights are the starting point; its discriminator starts from scratch
    replay: bool = True  # on one GPU: hold all pairs there, record each network's step once and replay it
    # what is done alike to real and generated images before the discriminator sees them
    augment: tuple[str, ...] = ("colour", "translation", "cutout")
    # the frozen network in whose features generated images are compared with real ones
    frozen_network: Part = field(default_factory=lambda: Part("efficientnet-lite0"))
    discriminator: Part | None = None  # a registered one; the design's own when left out
    text: TextSettings = field(default_factory=TextSettings)
    xmc: XmcSettings | None = None  # one of the two designs
    x_mrs: XMrsSettings | None = None
    data: DataConfig = field(default_factory=lambda: DataConfig(views=("full",)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.xmc is None) == (self.x_mrs is None):
            raise ConfigError("a generator has one design; give either [xmc] or [x_mrs]")
        self.refuse_unused("a generator")
        check_size(self.size)
        check_augmentations(self.augment)
        check_least(self, steps=1, discriminator_steps=1)
        if not 0 < self.discriminator_rate < math.inf:
            raise ConfigError(f"discriminator_rate must be above 0, found {self.discriminator_rate}")
        if self.training.accumulate != 1 or self.training.chunk:
            raise ConfigError("each batch is one network's step: set training.accumulate = 1 and training.chunk = 0")

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
        """Words of a text that the regions of an image attend to."""
        return 0 if self.x_mrs else self.text.max_words

    @property
    def order(self) -> tuple[str, ...]:
        """Which network each step trains, over and over."""
        return (DISCRIMINATOR,) * self.discriminator_steps + (GENERATOR,)

    def without_paths(self) -> dict[str, Any]:
        """As of every config; besides, without the place of the frozen network's weights."""
        network = self.frozen_network
        kept = {key: value for key, value in network.options.items() if key != "weights"}
        found = dataclasses.replace(self, frozen_network=Part(network.name, kept))
        return super(GeneratorConfig, found).without_paths()

    def identity(self) -> dict[str, Any]:
        """As of every config; besides, `replay` may change, and at a constant rate the number of rounds."""
        training = self.training
        if training.schedule == "constant":
            training = dataclasses.replace(training, epochs=1)
        return super(GeneratorConfig, dataclasses.replace(self, training=training, replay=True)).identity()
