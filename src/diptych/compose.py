"""The composition root: from a config to towers, features, heads, loss, trainer and a saved model.

The only place that knows all the tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor, nn

from diptych import losses
from diptych.core.config import Part, to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.paths import cache_folder
from diptych.core.protocols import SILENT, ImageTower, Preprocess, Progress, TextTower
from diptych.core.types import Pair, Skipped
from diptych.data import views
from diptych.data.features import FeaturePairs, collect
from diptych.data.readers import SourceOptions, open_source
from diptych.data.splits import divide
from diptych.encoders import table as towers
from diptych.encoders.export import read_weights
from diptych.evaluation import Embedded as EmbeddedCollection
from diptych.evaluation import evaluate
from diptych.models import card, load
from diptych.models import folder as files
from diptych.models.heads import EnsembleHead, Head, build_head, ensemble_of
from diptych.models.save import save
from diptych.training.batches import BatchRows, EpochPlan
from diptych.training.engine import FitResult, Trainer, accelerator
from diptych.training.engine import forget as forget_run
from diptych.training.settings import TrainingSettings

_ENCODE_ROWS = 1024  # rows embedded at once in validation
_STATISTICS_NUMBERS = 1 << 26  # features that the input statistics are taken from
_OF_MODEL = "model:"
ANY_SOURCE = SourceOptions()
_ANY_CLASSES = 2  # for trying whether a config can be built


@dataclass(frozen=True)
class DataConfig:
    """Which pairs, and how pictures are varied."""

    source: str = ""  # any source that `diptych data check` reads; --data overrides it
    train: str = "train"
    val: str = "val"
    val_share: float = 0.1  # held out by a hash of the id where the source names no splits
    langs: tuple[str, ...] = ()  # empty: all
    fields: tuple[str, ...] = ()  # empty: all
    views: tuple[str, ...] = ("full", "flip")
    plain: float = 0.4  # chance of a view that is not a crop
    workers: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share must be between 0 and 1, found {self.val_share}")
        if not 0 <= self.plain <= 1:
            raise ConfigError(f"plain must be from 0 to 1, found {self.plain}")
        if self.workers < 1:
            raise ConfigError(f"workers must be at least 1, found {self.workers}")
        views.check(self.views)


@dataclass(frozen=True)
class SideSettings:
    """A frozen tower and the head to train on it."""

    tower: str  # a name of the tower table, or "model:NAME_OR_FOLDER" for that model's own tower
    head: Part | None = None  # left out: the head of `init`, else an MLP


@dataclass(frozen=True)
class TrainConfig:
    """Everything that `diptych train` needs; its TOML twin is in configs/."""

    name: str
    image: SideSettings
    text: SideSettings
    loss: Part
    dim: int = 0  # of one member; 0: that of `init`, else 512
    members: int = 1  # heads trained with seeds seed, seed + 1, ... and joined into one
    seed: int = 0
    compact: bool = False  # store the heads in 8 bits: half the size, for models that ship
    init: str = ""  # a model whose heads are the starting point
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: card.CardText = field(default_factory=card.CardText)

    def __post_init__(self) -> None:
        if self.dim < 0 or self.members < 1:
            raise ConfigError(f"members must be at least 1 and dim at least 0, found {self.members} and {self.dim}")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, found {self.seed}")
        if self.init and self.members > 1:
            raise ConfigError("members are trained from scratch; leave out init, or set members = 1")

    def resolved(self) -> TrainConfig:
        """The same config with its heads and dim written out: those of `init`, else an MLP and 512."""
        start = load(self.init).config if self.init else None
        return dataclasses.replace(
            self,
            dim=self.dim or (start.dim if start else 512),
            image=_with_head(self.image, start.image.head if start else Part("mlp")),
            text=_with_head(self.text, start.text.head if start else Part("mlp")),
        )


@dataclass(frozen=True)
class TrainReport:
    """What came of a training run."""

    model: Path
    scores: Mapping[str, float]  # validation, of the saved model
    fits: tuple[FitResult, ...]
    skipped: tuple[Skipped, ...]
    records: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": str(self.model),
            "scores": dict(self.scores),
            "members": [
                {
                    "best_epoch": fit.best_epoch,
                    "best_score": fit.best_score,
                    "epochs": fit.epochs,
                    "seconds": fit.seconds,
                }
                for fit in self.fits
            ],
            "records": dict(self.records),
            "skipped": [{"name": skip.name, "reason": skip.reason, "detail": skip.detail} for skip in self.skipped],
        }


class Pairing(nn.Module):
    """Both heads and the loss: everything with weights to learn."""

    def __init__(self, image: Head, text: Head, loss: losses.Loss) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.loss = loss


@dataclass(frozen=True)
class _BundledTower:
    """The image tower of a saved model, with the folder that it can be copied from."""

    tower: ImageTower
    folder: Path

    @property
    def dim(self) -> int:
        return self.tower.dim

    @property
    def fingerprint(self) -> str:
        return self.tower.fingerprint

    @property
    def preprocess(self) -> Preprocess:
        return self.tower.preprocess

    def embed(self, pixels: Any) -> Any:
        return self.tower.embed(pixels)


def image_tower(spec: str) -> ImageTower:
    """A tower of the table, or the one inside a saved model ("model:base")."""
    if not spec.startswith(_OF_MODEL):
        return towers.image_tower(spec)
    model = load(spec.removeprefix(_OF_MODEL))
    if model.config.image.tower != files.BUNDLED:
        return towers.image_tower(model.config.image.tower)
    return _BundledTower(model.image_tower, model.folder)


def text_tower(spec: str) -> TextTower:
    """A tower of the table, or the one that a saved model uses ("model:base")."""
    if not spec.startswith(_OF_MODEL):
        return towers.text_tower(spec)
    return load(spec.removeprefix(_OF_MODEL)).text_tower


def read_splits(
    data: DataConfig, source: str, options: SourceOptions = ANY_SOURCE
) -> tuple[dict[str, list[Pair]], list[Skipped]]:
    """Training and validation pairs of a source, and what its reader left out."""
    opened = open_source(source, options)
    pairs = list(opened)
    return divide(pairs, data.train, data.val, data.val_share), opened.skipped


def forget(out: Path) -> None:
    """Remove the log, curve and checkpoints of an earlier run from `out`; whatever else lies there stays."""
    for folder in (out, *out.glob("member-*")):
        forget_run(folder)


def train(
    config: TrainConfig,
    out: Path,
    *,
    source: str = "",
    options: SourceOptions = ANY_SOURCE,
    pairs: Mapping[str, list[Pair]] | None = None,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> TrainReport:
    """Train the heads that `config` describes, and save the model in `out/model`.

    Args:
        config: what to train.
        out: the run's folder: logs, curves, checkpoints and the model. A run that was interrupted
            goes on from its last epoch.
        source: where the pairs are; overrides the config's.
        options: how to read the source: columns, format, image folder.
        pairs: pairs already read, by "train" and "val"; overrides `source`.
        device: auto, cpu, cuda or cuda:N.
        cache: folder of the feature caches; None is the user's cache folder.

    Raises ConfigError, DataError or ModelError before anything is trained, DivergedError on NaN.
    """
    config = config.resolved()
    image_part, text_part = _head_of(config.image), _head_of(config.text)
    spec = source or config.data.source
    if pairs is None and not spec:
        raise ConfigError("no data to train on; pass --data SOURCE, or set data.source in the config")
    towers_ = image_tower(config.image.tower), text_tower(config.text.tower)
    _pairing(config, towers_, config.seed, _ANY_CLASSES)  # what cannot be built is refused before anything is read
    accelerator(device)
    unread: list[Skipped] = []
    if pairs is None:
        pairs, unread = read_splits(config.data, spec, options)
    classes = len({pair.group for pair in pairs["train"] if pair.group is not None})
    root = (cache or cache_folder()) / "features"
    training = _collect(pairs["train"], towers_, root, config.data, config.data.views, progress)
    validation = _collect(pairs["val"], towers_, root, config.data, ("full",), progress)

    fits, trained = [], []
    for member in range(config.members):
        module = _pairing(config, towers_, config.seed + member, classes)
        if not config.init:
            _fit_statistics(module, training, config.seed + member)
        folder = out if config.members == 1 else out / f"member-{member}"
        trainer = _trainer(config, towers_, module, training, validation, folder, member, device, progress)
        fits.append(trainer.fit())
        trained.append(module.cpu().eval())
    image_head = _joined([module.image for module in trained])
    text_head = _joined([module.text for module in trained])
    with torch.inference_mode():
        scores = _scores(image_head, text_head, validation, torch.device("cpu"))
    records = {"train": training.records, "val": validation.records}
    record = {
        "config": to_dict(dataclasses.replace(config, data=dataclasses.replace(config.data, source=""))),
        "data": {
            **records,
            "train_fingerprint": training.fingerprint(),
            "val_fingerprint": validation.fingerprint(),
        },
        "validation": scores,
        "best_epochs": [fit.best_epoch for fit in fits],
    }
    save(
        out / "model",
        name=config.name,
        image_tower=towers_[0],
        image_tower_spec=_plain_image_spec(config.image.tower),
        image_head=image_head,
        image_head_part=ensemble_of(image_part, config.members),
        text_tower=towers_[1],
        text_tower_spec=_plain_text_spec(config.text.tower),
        text_head=text_head,
        text_head_part=ensemble_of(text_part, config.members),
        dim=config.dim * config.members,
        card=card.write(config.name, config.card, record),
        training=record,
        licence=config.card.licence,
        compact=config.compact,
    )
    skipped = (*unread, *training.skipped, *validation.skipped)
    return TrainReport(out / "model", scores, tuple(fits), skipped, records)


def _collect(
    pairs: list[Pair],
    both: tuple[ImageTower, TextTower],
    root: Path,
    data: DataConfig,
    view_names: tuple[str, ...],
    progress: Progress,
) -> FeaturePairs:
    return collect(
        pairs,
        *both,
        root,
        view_names=view_names,
        langs=data.langs,
        fields=data.fields,
        workers=data.workers,
        progress=progress,
    )


def _pairing(config: TrainConfig, both: tuple[ImageTower, TextTower], seed: int, classes: int) -> Pairing:
    torch.manual_seed(seed)
    image = build_head(_head_of(config.image), both[0].dim, config.dim)
    text = build_head(_head_of(config.text), both[1].dim, config.dim)
    module = Pairing(image, text, losses.build(config.loss, dim=config.dim, classes=classes))
    if config.init:
        _start_from(module, config)
    return module


def _fit_statistics(module: Pairing, training: FeaturePairs, seed: int) -> None:
    for head, rows in ((module.image, training.images[0]), (module.text, training.texts)):
        enough = min(20_000, _STATISTICS_NUMBERS // rows.matrix.shape[1])
        sample = np.random.default_rng(seed).permutation(len(rows))[:enough]
        head.fit_statistics(torch.from_numpy(rows[np.sort(sample)]))


def _start_from(module: Pairing, config: TrainConfig) -> None:
    model = load(config.init)
    folder = model.folder
    files.verify(folder, model.config)
    for head, name in ((module.image, files.IMAGE_HEAD), (module.text, files.TEXT_HEAD)):
        try:
            head.load_state_dict(read_weights(folder, name))
        except RuntimeError as error:
            raise ModelError(
                f"the heads of {config.init!r} do not fit this config ({str(error).splitlines()[-1].strip()}); "
                f"use the head and dim that {folder / files.CONFIG} names, or leave init out"
            ) from error


def _trainer(
    config: TrainConfig,
    both: tuple[ImageTower, TextTower],
    module: Pairing,
    training: FeaturePairs,
    validation: FeaturePairs,
    folder: Path,
    member: int,
    device: str,
    progress: Progress,
) -> Trainer:
    seed = config.seed + member
    plan = EpochPlan(
        training.image_owner,
        training.text_owner,
        views=len(training.images),
        batch_size=config.training.batch_size,
        seed=seed,
        plain=config.data.plain,
    )

    numbered = _numbered(training.groups)

    def step(rows: BatchRows) -> Tensor:
        image = module.image(torch.from_numpy(_gather(training, rows)).to(trainer.fabric.device))
        text = module.text(torch.from_numpy(training.texts[rows.text]).to(trainer.fabric.device))
        owner = torch.from_numpy(rows.owner).to(trainer.fabric.device)
        group = None if numbered is None else torch.from_numpy(numbered[rows.owner]).to(trainer.fabric.device)
        loss: Tensor = module.loss(losses.Embedded(image, text, owner, group))
        return loss

    identity = {
        # a run goes on with another number of workers, or with its data moved, but not with other data
        "config": to_dict(
            dataclasses.replace(
                config, card=card.CardText(), data=dataclasses.replace(config.data, source="", workers=1)
            )
        ),
        "towers": [tower.fingerprint for tower in both],
        "data": {"train": training.fingerprint(), "val": validation.fingerprint()},
        "seed": seed,
    }
    trainer = Trainer(
        module,
        step,
        lambda: _scores(module.image, module.text, validation, trainer.fabric.device),
        plan,
        config.training,
        folder,
        identity=identity,
        report=module.loss.report,
        start_epoch=module.loss.start_epoch,
        start_step=module.loss.start_step,
        device=device,
        title=f"{config.name}, seed {seed}",
        progress=progress,
    )
    return trainer


def _numbered(groups: Sequence[str | None]) -> Int[np.ndarray, " n"] | None:
    """Classes as numbers in order of their names, -1 for a record without one; None when no record has one."""
    names = sorted({group for group in groups if group is not None})
    if not names:
        return None
    number = {name: place for place, name in enumerate(names)}
    return np.array([-1 if group is None else number[group] for group in groups], dtype=np.int64)


def _gather(training: FeaturePairs, rows: BatchRows) -> Float32[np.ndarray, "b f"]:
    features = np.empty((len(rows.image), training.images[0].matrix.shape[1]), dtype=np.float32)
    for view, stored in enumerate(training.images):
        here = rows.view == view
        if here.any():
            features[here] = stored[rows.image[here]]
    return features


def _scores(image: Head, text: Head, pairs: FeaturePairs, device: torch.device) -> dict[str, float]:
    """Retrieval on pairs with one picture each (further pictures of a record are left out)."""
    first = np.searchsorted(pairs.image_owner, np.arange(pairs.records))
    collection = EmbeddedCollection(
        _embed(image, pairs.images[0], first, device),
        _embed(text, pairs.texts, np.arange(len(pairs.texts)), device),
        pairs.text_owner,
    )
    found = evaluate(collection, resamples=0, cuts=(1, 5, 10)).scores
    result = {}
    for name, direction in (("i2t", found.image_to_text), ("t2i", found.text_to_image)):
        for metric in ("R@1", "R@5", "R@10"):
            result[f"{name} {metric}"] = round(100 * direction.metrics[metric].value, 2)
    return {"score": round(sum(result.values()), 2), **result}


def _embed(head: Head, rows: Any, which: np.ndarray, device: torch.device) -> Float32[np.ndarray, "n d"]:
    parts = [
        head(torch.from_numpy(rows[which[start : start + _ENCODE_ROWS]]).to(device)).float().cpu().numpy()
        for start in range(0, len(which), _ENCODE_ROWS)
    ]
    return np.concatenate(parts)


def _with_head(side: SideSettings, head: Part) -> SideSettings:
    return side if side.head is not None else dataclasses.replace(side, head=head)


def _head_of(side: SideSettings) -> Part:
    if side.head is None:
        raise ConfigError("the config has no head; call resolved() first")
    return side.head


def _joined(heads: list[Head]) -> Head:
    return heads[0] if len(heads) == 1 else EnsembleHead(heads)


def _plain_image_spec(spec: str) -> str:
    """The table's name of a tower that was named as some model's own."""
    if not spec.startswith(_OF_MODEL):
        return spec
    side = load(spec.removeprefix(_OF_MODEL)).config.image
    return side.source or side.tower


def _plain_text_spec(spec: str) -> str:
    if not spec.startswith(_OF_MODEL):
        return spec
    return load(spec.removeprefix(_OF_MODEL)).config.text.tower
