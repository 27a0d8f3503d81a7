"""What `diptych train` can be told; the TOML files in configs/ are its twins."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.data import views
from diptych.data.alternatives import LanguagePolicy
from diptych.data.features import Selection
from diptych.models import card, load
from diptych.training.batch_order import PairShares
from diptych.training.settings import TrainingSettings


@dataclass(frozen=True)
class DataConfig:
    """Which pairs, and how pictures are varied."""

    source: str = ""  # any source that `diptych data check` reads; --data overrides it
    train: str = "train"
    val: str = "val"
    val_share: float = 0.1  # held out by a hash of the id where the source names no splits; see data.splits
    langs: tuple[str, ...] = ()  # empty: all
    fields: tuple[str, ...] = ()  # empty: all
    views: tuple[str, ...] = ("full", "flip")
    plain: float = 0.4  # chance of a view that is not a crop
    # texts of a picture that meet in one batch, so that the picture is embedded once for them; 0: each text is
    # dealt out on its own, which is better where pictures cost nothing because their features are cached
    together: int = 0
    workers: int = 2
    # language as regularisation: texts give way to back-translations and to other languages, if there are any;
    # validation then looks at the originals alone
    language: LanguagePolicy | None = None
    mined: str = ""  # hard negatives that `diptych data mine` wrote; they meet in batches. Empty: chance alone
    hard: float = 0.5  # share of a batch that is filled with them, as far as there are any left

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share must be between 0 and 1, found {self.val_share}")
        if not 0 <= self.plain <= 1:
            raise ConfigError(f"plain must be from 0 to 1, found {self.plain}")
        if not 0 < self.hard < 1:
            raise ConfigError(f"hard must be between 0 and 1, found {self.hard}")
        if self.together < 0:
            raise ConfigError(f"together must be at least 0, found {self.together}")
        if self.together and (self.language is not None or self.mined):
            raise ConfigError("texts dealt together follow no language policy and no mined negatives; set together = 0")
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, found {self.workers}")
        views.check(self.views)

    def selection(self, view_names: tuple[str, ...] = ()) -> Selection:
        """Which texts to use, and these views of the images; the training views without any."""
        return Selection(view_names or self.views, self.langs, self.fields, self.workers)


@dataclass(frozen=True)
class SideSettings:
    """One side, from the bottom up: a frozen tower, a trained network where one is wanted, a trained head.

    In TOML a name alone will do where no option is set: `tower = "use"` is `tower = {name = "use"}`.
    """

    # the name of a registered tower; "words" or "wordpiece", a tokenizer trained on the training texts;
    # or "model:NAME_OR_FOLDER" for that model's own tower
    tower: Part
    network: Part | None = None  # left out: that of `init`, else none
    head: Part | None = None  # left out: the head of `init`, else an MLP


@dataclass(frozen=True)
class TrainConfig:
    """Everything that `diptych train` needs."""

    name: str
    image: SideSettings
    text: SideSettings
    loss: Part | None = None  # what is trained for; or
    fit: Part | None = None  # how linear heads are computed in one step, without training (cca)
    dim: int = 0  # of one member; 0: that of `init`, else 512
    members: int = 1  # heads trained with seeds seed, seed + 1, ... and joined into one
    seed: int = 0
    # beside pairs of a picture and a text: two texts of a record, two looks at its pictures
    pairs: PairShares = field(default_factory=PairShares)
    compact: bool = False  # store the heads in 8 bits: half the size, for models that ship
    init: str = ""  # a model whose heads, and networks where it has them, are the starting point
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: card.CardText = field(default_factory=card.CardText)

    def __post_init__(self) -> None:
        if self.dim < 0 or self.members < 1:
            raise ConfigError(f"members must be at least 1 and dim at least 0, found {self.members} and {self.dim}")
        if (self.loss is None) == (self.fit is None):
            raise ConfigError("a config needs a loss to train for, or a fit to compute; give one of both")
        if self.fit is not None and self.data.mined:
            raise ConfigError("a fit has no batches for mined negatives to meet in; leave out data.mined")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, found {self.seed}")
        self._check_shares()
        if self.init and self.members > 1:
            raise ConfigError("members are trained from scratch; leave out init, or set members = 1")

    def _check_shares(self) -> None:
        if self.pairs.are_across:
            return
        if self.fit is not None:
            raise ConfigError("a fit is of pictures and texts; leave out [pairs]")
        if self.similarity != "cosine":
            raise ConfigError(
                f"the similarity {self.similarity!r} takes a picture and a text, so it cannot compare two texts or "
                "two pictures; leave out [pairs], or compare by the cosine"
            )
        idle = [side for side, share in (("image", self.pairs.images), ("text", self.pairs.texts)) if not share]
        if not self.pairs.across and idle and not self.init:
            raise ConfigError(
                f"nothing would train the {idle[0]} side: pairs.across and pairs.{idle[0]}s are 0; give one of them a "
                "share, or an init to take that side from"
            )

    @property
    def similarity(self) -> str:
        """What the model is to be searched by: what its loss compares by."""
        return str(self.loss.options.get("similarity", "cosine")) if self.loss else "cosine"

    def resolved(self) -> TrainConfig:
        """The same config with networks, heads and dim written out: those of `init`, else an MLP and 512."""
        start = load(self.init).config if self.init else None
        return dataclasses.replace(
            self,
            dim=self.dim or (start.dim if start else 512),
            image=_completed(self.image, start.image.network if start else None, start.image.head if start else None),
            text=_completed(self.text, start.text.network if start else None, start.text.head if start else None),
        )


def _completed(side: SideSettings, network: Part | None, head: Part | None) -> SideSettings:
    return dataclasses.replace(side, network=side.network or network, head=side.head or head or Part("mlp"))
