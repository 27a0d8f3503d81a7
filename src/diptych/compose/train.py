"""One training run of a dual encoder, from its config to a saved model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int, Shaped
from torch import Tensor, nn

from diptych import losses
from diptych.compose import towers
from diptych.compose.config import DataConfig, SideSettings, TrainConfig
from diptych.core.config import Part, to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.paths import cache_folder
from diptych.core.protocols import SILENT, ImageTower, Progress, TextTower
from diptych.core.types import Pair, Skipped, Text
from diptych.data.features import FeaturePairs, collect, is_wanted
from diptych.data.readers import SourceOptions, open_source
from diptych.data.splits import divide
from diptych.encoders.export import read_weights
from diptych.evaluation import Embedded as EmbeddedCollection
from diptych.evaluation import evaluate
from diptych.models import card, load
from diptych.models import folder as files
from diptych.models.heads import EnsembleHead, build_head, ensemble_of, share_layers
from diptych.models.networks import build_network
from diptych.models.save import TrainedSide, save
from diptych.models.side import Side
from diptych.training.batches import BatchRows, EpochPlan
from diptych.training.engine import RUN_FILES, FitResult, Trainer, accelerator

_ENCODE_ROWS = 256  # rows embedded at once in validation
_STATISTICS_ROWS_OF_NETWORKS = 2_000
_STATISTICS_NUMBERS = 1 << 26  # features that the input statistics are taken from
ANY_SOURCE = SourceOptions()
_ANY_CLASSES = 2  # for trying whether a config can be built
_ANY_TEXTS = ["a picture of a thing"] * 100


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


@runtime_checkable
class Lesson(Protocol):
    """What a training run may learn besides its pairs: see `diptych.compose.distill`."""

    fingerprint: str  # a resumed run must have the same lesson

    def begin(self, training: FeaturePairs) -> None:
        """Get ready for these pairs, before the first step. Raises DataError when they are not the lesson's."""
        ...

    def loss(self, module: Pairing, training: FeaturePairs, rows: BatchRows, texts: Tensor, own: Tensor) -> Tensor:
        """The loss of a step from the texts' embeddings and the loss `own` of the config."""
        ...


class Pairing(nn.Module):
    """Both sides and the loss: everything with weights to learn."""

    def __init__(self, image: Side, text: Side, loss: losses.Loss) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.loss = loss


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
        for name in RUN_FILES:
            (folder / name).unlink(missing_ok=True)


def train(
    config: TrainConfig,
    out: Path,
    *,
    source: str = "",
    options: SourceOptions = ANY_SOURCE,
    pairs: Mapping[str, list[Pair]] | None = None,
    device: str = "auto",
    cache: Path | None = None,
    lesson: Lesson | None = None,
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
        lesson: a teacher's, to learn from besides the pairs.

    Raises ConfigError, DataError or ModelError before anything is trained, DivergedError on NaN.
    """
    config = config.resolved()
    spec = source or config.data.source
    if pairs is None and not spec:
        raise ConfigError("no data to train on; pass --data SOURCE, or set data.source in the config")
    # What cannot be built is refused before anything is read.
    image_tower = towers.image_tower(config.image.tower)
    text_tower = towers.text_tower(config.text.tower, lambda: _ANY_TEXTS)
    _pairing(config, (image_tower, text_tower), config.seed, _ANY_CLASSES)
    accelerator(device)
    unread: list[Skipped] = []
    if pairs is None:
        pairs, unread = read_splits(config.data, spec, options)
    if towers.trains_tokenizer(config.text.tower):
        texts = _texts_of(pairs["train"], config.data)
        languages = {text.lang for text in texts if text.lang}
        text_tower = towers.text_tower(config.text.tower, lambda: [text.value for text in texts], languages)
    both = image_tower, text_tower
    classes = len({pair.group for pair in pairs["train"] if pair.group is not None})
    root = (cache or cache_folder()) / "features"
    training = _collect(pairs["train"], both, root, config.data, config.data.views, progress)
    validation = _collect(pairs["val"], both, root, config.data, ("full",), progress)

    if lesson is not None:
        lesson.begin(training)
    fits, trained = [], []
    for member in range(config.members):
        module = _pairing(config, both, config.seed + member, classes)
        if not config.init:
            _fit_statistics(module, training, config.seed + member)
        folder = out if config.members == 1 else out / f"member-{member}"
        trainer = _trainer(config, both, module, training, validation, folder, member, device, progress, lesson)
        fits.append(trainer.fit())
        trained.append(module.cpu().eval())
    image_module = _joined([module.image.for_export() for module in trained])
    text_module = _joined([module.text.for_export() for module in trained])
    with torch.inference_mode():
        scores = _scores(image_module, text_module, validation, torch.device("cpu"))
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
        image=TrainedSide(
            image_tower,
            towers.plain_image_part(config.image.tower),
            ensemble_of(_head_of(config.image), config.members),
            image_module,
            config.image.network,
        ),
        text=TrainedSide(
            text_tower,
            towers.plain_text_part(config.text.tower),
            ensemble_of(_head_of(config.text), config.members),
            text_module,
            config.text.network,
        ),
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
    image = _side(config.image, both[0], config.dim)
    text = _side(config.text, both[1], config.dim)
    share_layers(image.head, text.head)
    module = Pairing(image, text, losses.build(config.loss, dim=config.dim, classes=classes))
    if config.init:
        _start_from(module, config)
    return module


def _side(settings: SideSettings, tower: ImageTower | TextTower, dim: int) -> Side:
    network = build_network(settings.network, tower) if settings.network else None
    return Side(network, build_head(_head_of(settings), network.dim if network else tower.dim, dim))


def _texts_of(pairs: Sequence[Pair], data: DataConfig) -> list[Text]:
    """The texts that training will use."""
    return [text for pair in pairs for text in pair.texts if is_wanted(text, data.langs, data.fields)]


def _fit_statistics(module: Pairing, training: FeaturePairs, seed: int) -> None:
    for side, rows in ((module.image, training.images[0]), (module.text, training.texts)):
        enough = min(20_000, _STATISTICS_NUMBERS // rows.matrix.shape[1])
        if side.network is not None:
            enough = min(enough, _STATISTICS_ROWS_OF_NETWORKS)
        sample = np.random.default_rng(seed).permutation(len(rows))[:enough]
        side.fit_statistics(torch.from_numpy(rows[np.sort(sample)]))


def _start_from(module: Pairing, config: TrainConfig) -> None:
    model = load(config.init)
    folder = model.folder
    files.verify(folder, model.config)
    for side, name in ((module.image, files.IMAGE_HEAD), (module.text, files.TEXT_HEAD)):
        try:
            (side if side.network is not None else side.head).load_state_dict(read_weights(folder, name))
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
    lesson: Lesson | None,
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
        return loss if lesson is None else lesson.loss(module, training, rows, text, loss)

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
        **({} if lesson is None else {"lesson": lesson.fingerprint}),
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


def _gather(training: FeaturePairs, rows: BatchRows) -> Shaped[np.ndarray, "b f"]:
    """Each row's picture under the view that it was dealt."""
    found = training.images[0][rows.image]
    for view, stored in enumerate(training.images[1:], 1):
        here = rows.view == view
        if here.any():
            found[here] = stored[rows.image[here]]
    return found


def _scores(image: nn.Module, text: nn.Module, pairs: FeaturePairs, device: torch.device) -> dict[str, float]:
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


def _embed(side: nn.Module, rows: Any, which: np.ndarray, device: torch.device) -> Float32[np.ndarray, "n d"]:
    parts = [
        side(torch.from_numpy(rows[which[start : start + _ENCODE_ROWS]]).to(device)).float().cpu().numpy()
        for start in range(0, len(which), _ENCODE_ROWS)
    ]
    return np.concatenate(parts)


def _head_of(side: SideSettings) -> Part:
    if side.head is None:
        raise ConfigError("the config has no head; call resolved() first")
    return side.head


def _joined(sides: list[nn.Module]) -> nn.Module:
    return sides[0] if len(sides) == 1 else EnsembleHead(sides)
