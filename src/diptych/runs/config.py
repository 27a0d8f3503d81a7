"""Settings of a training: those of every kind, and a dual encoder's. In TOML they stand in configs/*.toml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.config import Part, check_least, stated_without, to_dict
from diptych.core.errors import ConfigError
from diptych.core.registry import get
from diptych.core.similarity import is_like_cosine
from diptych.data import views
from diptych.data.alternatives import LanguagePolicy
from diptych.data.features import Selection
from diptych.data.online import OnlineImages
from diptych.encoders.image.pixel_tower import pixels_for
from diptych.encoders.none import NONE
from diptych.models import DualEncoder, load
from diptych.models.card import CardText
from diptych.models.folder import EXPORTED
from diptych.training.batch_order import PairShares
from diptych.training.settings import TrainingSettings

from .source_settings import SourceSettings

_IDENTITY = Part("identity")
_VECTORS = "vectors"  # of a network over words: a file that its word vectors begin with
_BEGINS_AS = "begins_as"  # of a transformer: a model that its weights begin with
_MOST_SCALE = 99.999  # of info_nce, which does not learn at its limit of 100, where CLIP's own scale stands


@dataclass(frozen=True)
class DataConfig:
    """Which pairs are used, and how their images are varied."""

    source: str = ""  # any source that `diptych data check` reads; one that is given to `train` overrides it
    train: str = "train"  # split to learn from
    val: str = "val"  # split that chooses the best epoch; "held-out": a part of `train`, by a hash of the id
    # further sources that the model is measured on, before and after: their test split, or all records
    also: tuple[str, ...] = ()
    val_share: float = 0.1  # held out by a hash of the id where the source names no splits; see data.splits
    langs: tuple[str, ...] = ()  # empty: all
    fields: tuple[str, ...] = ()  # empty: all
    views: tuple[str, ...] = (
        "full",
        "flip",
    )  # of each image, whose features are cached: full, flip, crop-0, crop-1, ...
    images: OnlineImages | None = None  # decode and augment images while training, in place of cached views
    plain: float = 0.4  # probability of a view that is no crop
    # texts of an image that stand in one batch, so that the image is embedded once for them; 0: each text is drawn
    # on its own, which is better where images cost nothing because their features are cached
    together: int = 0
    workers: int = 2  # threads that decode images for the cache
    # language as regularisation: a text is replaced by a back-translation or by one in another language, where the
    # source has any; validation uses the originals alone
    language: LanguagePolicy | None = None
    mined: str = ""  # hard negatives that `diptych data mine` wrote, put into one batch. Empty: batches are random
    hard: float = 0.5  # share of a batch that is filled with them, as far as there are any left
    # further sources to learn from, beside `source` or in its place
    sources: tuple[SourceSettings, ...] = ()
    # of several sources: the one whose validation decides which epoch is the best. Empty: the mean of all
    chosen_on: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share must be between 0 and 1, found {self.val_share}")
        if not 0 <= self.plain <= 1:
            raise ConfigError(f"plain must be from 0 to 1, found {self.plain}")
        if not 0 < self.hard < 1:
            raise ConfigError(f"hard must be between 0 and 1, found {self.hard}")
        check_least(self, together=0, workers=1)
        if self.together and self.mined:
            raise ConfigError("data.together cannot be combined with data.mined; set it to 0, or leave that out")
        views.check_views(self.views)

    def stated(self) -> dict[str, Any]:
        """The settings; those of several sources only where there are any, as a run of before has none."""
        return stated_without(self, "sources", "chosen_on")

    def selection(self, view_names: tuple[str, ...] = ()) -> Selection:
        """Which texts to use, and these views of the images; the training views without any."""
        return Selection(view_names or self.views, self.langs, self.fields, self.workers)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What the configs of every kind share; `diptych.runs.run.KINDS` lists the kinds."""

    name: str  # of the model, and of its folder below runs/
    kind: str = ""  # what is trained; a file without it trains a dual encoder
    seed: int = 0  # of first weights, batches and dropout: the same seed gives the same run
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: CardText = field(default_factory=CardText)

    def __post_init__(self) -> None:
        if self.kind != type(self).kind:
            raise ConfigError(f'kind must be "{type(self).kind}" for this config, found {self.kind!r}')
        check_least(self, seed=0)

    def without_paths(self) -> dict[str, Any]:
        """The config as the record of the run keeps it: JSON-ready, without paths of this machine."""
        data = dataclasses.replace(self.data, source="", mined="", also=(), sources=_without_paths(self.data))
        return _named_alone(to_dict(dataclasses.replace(self, data=data)))

    def identity(self) -> dict[str, Any]:
        """What a resumed run must agree on: not where its data lies, nor how many workers read it."""
        images = self.data.images and dataclasses.replace(self.data.images, workers=0)
        sources = _without_paths(self.data)
        data = dataclasses.replace(self.data, source="", mined="", workers=1, images=images, sources=sources)
        found = to_dict(dataclasses.replace(self, card=CardText(), data=data))
        del found["data"]["also"]  # it changes nothing of the training
        return _named_alone(found)

    @property
    def need_texts(self) -> bool:
        """Whether a source without texts is of no use."""
        return True

    def refuse_unused(self, kind: str, *, but: tuple[str, ...] = ()) -> None:
        """Raise ConfigError for a data setting that this kind of training would not use."""
        plain = DataConfig()
        if self.data.sources and "sources" not in but:
            raise ConfigError(f"found several sources (data.sources, --with) for {kind}; expected one source")
        for name in ("images", "language", "mined", "together", "also"):
            if name not in but and getattr(self.data, name) != getattr(plain, name):
                raise ConfigError(f"data.{name} has no effect on {kind}; leave it out")


@dataclass(frozen=True)
class SideSettings:
    """One side, from the bottom up: a frozen tower, a trained network where one is wanted, a trained head.

    In TOML a name alone will do where no option is set: `tower = "use"` is `tower = {name = "use"}`.
    """

    # the name of a registered tower; "words" or "wordpiece", a tokenizer trained on the training texts;
    # or "model:NAME_OR_FOLDER" for that model's own tower. Left out: that of `init`
    tower: Part | None = None
    network: Part | None = None  # left out: that of `init`, else none
    head: Part | None = None  # left out: the head of `init`, else an MLP
    frozen: bool = False  # the network of `init` is kept as it is, and its features are cached; only the head learns
    fresh: bool = False  # this side begins from scratch, though there is an `init`: another tower, network and head

    def __post_init__(self) -> None:
        if self.fresh and (self.tower is None or self.frozen):
            raise ConfigError("a fresh side takes nothing from init: name its tower, and leave out frozen")

    def stated(self) -> dict[str, Any]:
        """The fields without the one that came later, where it has its default."""
        return stated_without(self, "fresh")

    def with_network_resolved(self) -> SideSettings:
        """With the options that the network takes from elsewhere; see `Network.resolved`."""
        if self.network is None:
            return self
        return dataclasses.replace(self, network=get("network", self.network.name).resolved(self.network))

    @property
    def named_tower(self) -> Part:
        """The tower of a resolved config."""
        if self.tower is None:
            raise ConfigError("the config has no tower; call resolved() first")
        return self.tower


@dataclass(frozen=True, kw_only=True)
class DualEncoderConfig(TrainConfig):
    """Everything that the training of a dual encoder needs."""

    kind: str = "dual-encoder"
    image: SideSettings = field(default_factory=SideSettings)
    text: SideSettings = field(default_factory=SideSettings)
    # texts that ask, where the source has queries and documents: a network and a head of their own over the tower of
    # `text`. Left out: both go through the text side
    query: SideSettings | None = None
    # either a loss to train for; left out, with an `init` that has a temperature: info_nce, or sigmoid where it has a
    # bias too. A temperature or bias that is left out is that of `init`
    loss: Part | None = None
    fit: Part | None = None  # or how linear heads are computed in one step, without training (cca)
    dim: int = 0  # of one member; 0: that of `init`, else 512
    members: int = 1  # heads trained with seeds seed, seed + 1, ... and joined into one
    # beside pairs of an image and a text: two texts of a record, two views of its images
    pairs: PairShares = field(default_factory=PairShares)
    compact: bool = False  # store the heads in 8 bits: half the size, for models that ship
    # a model whose heads, and networks where it has them, are the starting point: a folder, a shipped name, or the
    # address of a pretrained joint model ("hf:NAME", "open_clip:ARCHITECTURE/TAG"), whose sides are networks then
    init: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, dim=0, members=1)
        if (self.loss is not None and self.fit is not None) or not (self.loss or self.fit or self.init):
            raise ConfigError("a config needs either a loss to train for or a fit to compute; give one of the two")
        for name, side in (("image", self.image), ("text", self.text)):
            if side.tower is None and not self.init:
                raise ConfigError(f"{name}.tower is missing; name a tower, or an init whose tower it is")
            if side.frozen and not self.init and side.network is None:
                raise ConfigError(f"{name}.frozen keeps the network of init, and there is no init; leave it out")
        if self.fit is not None:
            self._check_fit()
        similarity = self.similarity  # the parts of a loss agree on it
        if not self.pairs.are_across:
            self._check_shares(similarity)
        if self.query is not None:
            self._check_query(self.query)
        if not self.pairs.need_texts:
            self.refuse_unused("pairs of images alone", but=("images", "also"))
        if not self.pairs.need_images:
            self.refuse_unused("pairs of texts alone", but=("language", "together", "also"))
        for name, side, needed in (
            ("image", self.image, self.pairs.need_images),
            ("text", self.text, self.pairs.need_texts),
        ):
            if needed and side.tower is not None and side.tower.name == NONE:
                raise ConfigError(
                    f'{name}.tower = "none" takes no {name}s, and the pairs to learn from have some: set pairs.across '
                    f"and pairs.{name}s to 0, or name a tower"
                )
        if self.init and self.members > 1:
            raise ConfigError("members are trained from scratch; leave out init, or set members = 1")

    def _check_query(self, query: SideSettings) -> None:
        if query.tower not in (None, self.text.tower) or query.frozen:
            raise ConfigError("queries go through the tower of [text]; leave tower and frozen out of [query]")
        if not self.pairs.are_texts:
            raise ConfigError(
                "a side for queries learns from pairs of texts alone; set across = 0 and texts = 1 in [pairs], or "
                "leave out [query]"
            )
        if self.init or self.members > 1:
            raise ConfigError("a side for queries is trained from scratch; leave out init and members, or [query]")

    def _check_fit(self) -> None:
        if self.data.mined:
            raise ConfigError("a fit uses no batches, so mined negatives have no effect; leave out data.mined")
        if self.data.images is not None:
            raise ConfigError("a fit reads each image once, without augmentation; leave out [data.images]")
        if self.init or self.members > 1:
            raise ConfigError("a fit computes one member from nothing; leave out init and members")
        if not self.pairs.are_across:
            raise ConfigError("a fit needs pairs of an image and a text; leave out [pairs]")

    def _check_shares(self, similarity: str) -> None:
        if not is_like_cosine(similarity):
            raise ConfigError(
                f"the similarity {similarity!r} takes an image and a text, so it cannot compare two texts or "
                "two images; leave out [pairs], or compare by the cosine or l2"
            )
        sides = (("image", self.image, self.pairs.images), ("text", self.text, self.pairs.texts))
        idle = [name for name, side, share in sides if not share and (side.tower is None or side.tower.name != NONE)]
        if not self.pairs.across and idle and not self.init:
            raise ConfigError(
                f"nothing would train the {idle[0]} side: pairs.across and pairs.{idle[0]}s are 0; give one of them a "
                f'share, an init to take that side from, or {idle[0]}.tower = "none" for a model without it'
            )

    @property
    def need_texts(self) -> bool:
        """Whether a source without texts is of no use."""
        return self.pairs.need_texts

    @property
    def similarity(self) -> str:
        """What the model is to be searched by: what its loss compares by. Raises ConfigError for losses that differ."""
        stated = _stated_similarities({} if self.loss is None else self.loss.options)
        if len(stated) > 1:
            raise ConfigError(f"the parts of the loss compare by {' and '.join(sorted(stated))}; state one for all")
        return next(iter(stated), "cosine")

    def resolved(self) -> DualEncoderConfig:
        """The same config with towers, networks, heads, loss and dim written out: those of `init`, else an MLP and 512.

        Raises ConfigError for a side that is to be frozen and has no network, or when nothing would learn.
        """
        start = load(self.init) if self.init else None
        if start is not None and start.config.query is not None:
            raise ConfigError(f"init = {self.init!r} has a side for queries, which cannot be trained further")
        dim = self.dim or (start.config.dim if start else 512)
        made = dataclasses.replace(
            self,
            dim=dim,
            image=_completed(self.image, start, "image", dim),
            text=_completed(self.text, start, "text", dim).with_network_resolved(),
            query=self.query
            and dataclasses.replace(
                self.query, tower=self.text.tower, head=self.query.head or Part("mlp")
            ).with_network_resolved(),
            loss=None if self.fit else _loss(self.loss, start),
            card=_card(self.card, start),
        )
        exported = start.config.training.get(EXPORTED) if start else None
        more = f"; {self.init} was exported from {exported['address']}, start from that" if exported else ""
        sides = (made.image, made.text)
        goes_on = made.image.network is not None and not made.image.fresh
        if start is not None and exported and goes_on and start.config.image.network is None:
            raise ConfigError(
                f"init = {self.init!r} was exported: its network over images is within its tower, and only its heads "
                f'learn on; set tower = "model:{self.init}" in [image] and leave out its network, or start from '
                f"{exported['address']}"
            )
        for name, side in zip(("image", "text"), sides, strict=True):
            if side.frozen and side.network is None:
                raise ConfigError(
                    f"{name}.frozen has no effect: that side has no network, and towers are always frozen{more}"
                )
        if made.fit is None and all((side.frozen or not side.network) and side.head == _IDENTITY for side in sides):
            raise ConfigError(
                'nothing would learn: both sides are frozen, and their heads have no weights; set head = "adapter" in '
                f"[image] and [text], or let one side learn{more}"
            )
        return made


def _without_paths(data: DataConfig) -> tuple[SourceSettings, ...]:
    return tuple(source.without_paths() for source in data.sources)


def _stated_similarities(options: Any) -> set[str]:
    """Those that the options of a loss state, or of the losses within it (`combined`, `matryoshka`)."""
    if isinstance(options, list | tuple):
        return set().union(*map(_stated_similarities, options))
    if not isinstance(options, Mapping):
        return set()
    own = {str(options["similarity"])} if "similarity" in options else set()
    return own.union(*map(_stated_similarities, options.values()))


def _named_alone(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the name of the file of word vectors in place of its path."""
    for network in ((config.get("text") or {}).get("network") or {}, config.get("network") or {}):
        if network.get(_VECTORS):
            network[_VECTORS] = Path(network[_VECTORS]).name
    return config


def _completed(side: SideSettings, start: DualEncoder | None, name: str, dim: int) -> SideSettings:
    """One side with what it takes from `init`; a joint model gives nothing to a side with another tower."""
    has_none = start is not None and not start.joint and getattr(start.config, name).tower == NONE
    if (side.tower is None and has_none) or (side.tower is not None and side.tower.name == NONE):
        if side.network is not None or side.head is not None or side.frozen:
            raise ConfigError(f"the {name} side is none, so it takes no network, no head and no frozen; leave them out")
        return SideSettings(Part(NONE, {"dim": dim}), head=_IDENTITY)
    if start is None or has_none or side.fresh or (start.joint and side.tower is not None):
        return dataclasses.replace(side, head=side.head or Part("mlp"))
    if start.joint:
        joint = start.joint
        tower = pixels_for(joint.image.preprocess) if name == "image" else Part(f"tokens:{joint.address}")
        network, head = Part(f"joint_{name}", {"model": joint.address}), _IDENTITY
    else:
        started: Any = getattr(start.config, name)
        tower = side.tower or Part(f"model:{start.address}")
        network, head = started.network, started.head
    if side.network is not None and (network is None or network.name != side.network.name):
        network = side.network
    elif side.network is not None:
        for option in (_VECTORS, _BEGINS_AS):
            if option in side.network.options:
                raise ConfigError(f"{name}.network.{option} has no effect: its words are those of init; leave it out")
        network = Part(network.name, {**network.options, **side.network.options})
    return dataclasses.replace(side, tower=tower, network=network, head=side.head or head)


def _card(card: CardText, start: DualEncoder | None) -> CardText:
    """The card, with the licence of a pretrained joint model where the config states none."""
    if start is None or not start.joint or card.licence:
        return card
    return dataclasses.replace(card, licence=start.config.licence)


def _loss(loss: Part | None, start: DualEncoder | None) -> Part:
    """The loss, with the temperature and the bias of `init` where it keeps them and the config says nothing.

    They mean something for the similarity of `init` alone, which is taken with them.
    """
    scale, bias = (start.config.logit_scale, start.config.logit_bias) if start else (None, None)
    if loss is None and scale is None:
        raise ConfigError("the config has no loss to train for, and its init keeps no temperature; give a loss")
    compares_by = start.compares_by if start else "cosine"
    if loss is not None and str(loss.options.get("similarity", "cosine")) != compares_by:
        return loss
    found: dict[str, Any] = {}
    if loss is None and compares_by != "cosine":
        found["similarity"] = compares_by
    name = loss.name if loss else "info_nce" if bias is None else "sigmoid"
    if scale is not None and name in ("info_nce", "sigmoid"):
        found["temperature"] = 1 / min(scale, _MOST_SCALE) if name == "info_nce" else 1 / scale
        if name == "sigmoid" and bias is not None:
            found["bias"] = bias
    return Part(name, {**found, **(loss.options if loss else {})})
