"""One training run of a dual encoder, from its config to a saved model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.config import Part, to_dict
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.files import cache_folder
from diptych.core.notes import Note, Notes, notes_json
from diptych.core.protocols import SILENT, ImageTower, Progress, TextTower
from diptych.core.types import Pair, Skipped
from diptych.data.alternatives import TextAlternatives
from diptych.data.features import FeaturePairs, collect
from diptych.data.readers import Source, SourceOptions, open_source
from diptych.data.repeats import note_shared_by_splits
from diptych.data.seen import Seen, read_seen
from diptych.data.splits import divide
from diptych.losses import Embedded
from diptych.models import card, familiarity, load
from diptych.models.heads import EnsembleHead, ensemble_of
from diptych.models.save import TrainedSide, save
from diptych.training.batch_order import BatchOrder, BatchRows, GroupedBatches, MixedBatches, TextBatches
from diptych.training.engine import FitResult, Trainer, accelerator, remove_run
from diptych.training.objectives import Contrastive

from . import pairing, towers, unused
from .config import DataConfig, SideSettings, TrainConfig
from .negatives import MinedNegatives
from .pairing import Pairing
from .scores import LOOKS, Embed, retrieval_scores

ANY_SOURCE = SourceOptions()
_FAMILIAR = 1000  # training images that stand for all of them, and half as many held-out ones
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
    unmined: int = 0  # training records that the file of mined negatives does not speak of
    notes: tuple[Note, ...] = ()  # on how the source was read

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
                    "precision": fit.precision,
                    "unscored": fit.unscored,
                }
                for fit in self.fits
            ],
            "records": dict(self.records),
            "unmined": self.unmined,
            "skipped": [{"name": skip.name, "reason": skip.reason, "detail": skip.detail} for skip in self.skipped],
            "notes": notes_json(self.notes),
        }


@runtime_checkable
class Lesson(Protocol):
    """What a training run may learn besides its pairs: see `diptych.runs.distilled`."""

    fingerprint: str  # a resumed run must have the same lesson
    seen: list[Seen | None]  # what the models that it is learnt from were trained on

    def begin(self, training: FeaturePairs) -> None:
        """Get ready for these pairs, before the first step. Raises DataError when they are not the lesson's."""
        ...

    @property
    def share(self) -> float:
        """Of the lesson's loss; the rest is for the config's own."""
        ...

    def loss(self, module: Pairing, training: FeaturePairs, rows: BatchRows, texts: Tensor) -> Tensor:
        """The lesson's own loss from the embeddings of these rows' texts: a mean over the rows, each by itself."""
        ...


def source_of(data: DataConfig, source: str, *, given: bool) -> str:
    """What to read: the source asked for, else the config's. Raises ConfigError for neither, without pairs."""
    spec = source or data.source
    if not given and not spec:
        raise ConfigError("no data to train on; pass --data SOURCE, or set data.source in the config")
    return spec


def read_splits(
    data: DataConfig, source: str, options: SourceOptions = ANY_SOURCE
) -> tuple[dict[str, list[Pair]], Source]:
    """Training and validation pairs of a source, and the source, which knows what was left out and guessed.

    Raises DataError where there is no text, or a split has no pairs; it says where the splits' names come from.
    """
    opened = open_source(source, options)
    pairs = list(opened)
    if not any(pair.texts for pair in pairs):
        raise DataError(opened.no_texts(), Reason.EMPTY_TEXT)
    try:
        chosen = divide(pairs, data.train, data.val, data.val_share)
    except DataError as error:
        guessed = "".join(f"; {note.to_text()}" for note in opened.notes if note.kind == "split")
        raise DataError(f"{error}{guessed}", error.reason) from error
    unused.note_other_splits(opened.notes, pairs, chosen)
    unused.note_other_texts(opened.notes, [pair for some in chosen.values() for pair in some], data)
    return chosen, opened


def forget(out: Path) -> None:
    """Remove the log, curve and checkpoints of an earlier run from `out`; whatever else lies there stays."""
    for folder in (out, *out.glob("member-*")):
        remove_run(folder)


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
    """Train what `config` describes, and save the model in `out/model`.

    Args:
        config: what to train.
        out: the run's folder: logs, curves, checkpoints and the model. A run that was interrupted
            goes on from its last checkpoint.
        source: where the pairs are; overrides the config's.
        options: how to read the source: columns, format, image folder.
        pairs: pairs already read, by "train" and "val"; overrides `source`.
        device: auto, cpu, cuda or cuda:N.
        cache: folder of the feature caches; None is the user's cache folder.
        lesson: a teacher's, to learn from besides the pairs.

    Raises ConfigError, DataError or ModelError before anything is trained, DivergedError on NaN.
    """
    config = config.resolved()
    spec = source_of(config.data, source, given=pairs is not None)
    # What cannot be built is refused before anything is read.
    image_tower = towers.image_tower(config.image.tower)
    text_tower = towers.text_tower(config.text.tower, lambda: _ANY_TEXTS)
    built = pairing.build(config, (image_tower, text_tower), config.seed, _ANY_CLASSES)
    if not config.pairs.are_across and built.loss is not None and built.loss.needs_modalities:
        raise ConfigError(
            f"the loss {config.loss and config.loss.name!r} tells pictures from texts, so it cannot learn from pairs "
            "within a modality; leave out [pairs], or choose a loss such as info_nce"
        )
    accelerator(device)
    mined = MinedNegatives.read(Path(config.data.mined)) if config.data.mined else None
    opened: Source | None = None
    if pairs is None:
        pairs, opened = read_splits(config.data, spec, options)
    if towers.trains_tokenizer(config.text.tower):
        text_tower = _tokenizer_of(config, pairs["train"])
    root = (cache or cache_folder()) / "features"
    both = image_tower, text_tower
    measured_views = ("full", *LOOKS) if config.pairs.images else ("full",)
    data = _Data(
        both,
        collect(pairs["train"], *both, root, config.data.selection(), progress=progress),
        collect(
            _as_measured(pairs["val"], config.data),
            *both,
            root,
            config.data.selection(measured_views),
            progress=progress,
        ),
        mined,
    )
    if lesson is not None:
        lesson.begin(data.training)
    notes = opened.notes if opened else Notes()
    note_shared_by_splits(notes, data.training.contents, data.validation.contents)
    words = [text.value for text in data.training.written]
    unused.note_cut(notes, words, text_tower.count_tokens, text_tower.max_tokens)
    if mined is not None:
        mined.check(data.training)
    if data.unmined:
        progress.say(f"{config.data.mined} does not speak of {data.unmined} of {data.training.records} records")
    fits, trained, first = [], [], True
    for member in range(config.members):
        seed = config.seed + member
        module = pairing.build(config, both, seed, data.classes)
        if not config.init:
            pairing.fit_statistics(module, data.training, seed)
        if config.fit:
            pairing.fit_in_one_step(module, config, data.training)
        else:
            folder = out if config.members == 1 else out / f"member-{member}"
            trainer = _trainer(config, module, data, folder, seed, device, progress, lesson)
            fits.append(trainer.fit())
            first = trainer.fabric.is_global_zero
        trained.append(module.cpu().eval())
    skipped = [*(opened.skipped if opened else ()), *data.training.skipped, *data.validation.skipped]
    report = _package(config, out, data, trained, fits, skipped, lesson, write=first)
    return dataclasses.replace(report, notes=tuple(notes))


@dataclass(frozen=True)
class _Data:
    """The towers, and what came out of them."""

    towers: pairing.Towers
    training: FeaturePairs
    validation: FeaturePairs
    mined: MinedNegatives | None = None

    @property
    def unmined(self) -> int:
        """Training records that the mined negatives do not speak of."""
        return self.mined.unmined(self.training) if self.mined else 0

    @property
    def classes(self) -> int:
        """How many classes the training records have."""
        return len({group for group in self.training.groups if group is not None})

    def fingerprints(self) -> dict[str, str]:
        """Of the records of both splits, and of the mined negatives where there are any."""
        mined = {"mined": self.mined.fingerprint} if self.mined else {}
        return {"train": self.training.fingerprint(), "val": self.validation.fingerprint(), **mined}


def _as_measured(pairs: Sequence[Pair], data: DataConfig) -> list[Pair]:
    """Validation pairs with the texts that count: the originals, where a policy has others in training."""
    if data.language is None:
        return list(pairs)
    measured, start = [], 0
    originals = set(TextAlternatives.of_pairs(pairs, data.language).originals.tolist())
    for pair in pairs:
        texts = tuple(text for row, text in enumerate(pair.texts, start) if row in originals)
        start += len(pair.texts)
        measured.append(dataclasses.replace(pair, texts=texts))
    return measured


def _tokenizer_of(config: TrainConfig, pairs: Sequence[Pair]) -> TextTower:
    """A tokenizer trained on the texts that training will use."""
    selection = config.data.selection()
    texts = [text for pair in pairs for text in pair.texts if selection.takes(text)]
    languages = {text.lang for text in texts if text.lang}
    return towers.text_tower(config.text.tower, lambda: [text.value for text in texts], languages)


def _trainer(
    config: TrainConfig,
    module: Pairing,
    data: _Data,
    folder: Path,
    seed: int,
    device: str,
    progress: Progress,
    lesson: Lesson | None = None,
) -> Trainer:
    loss = module.loss
    if loss is None:
        raise ConfigError("the config has no loss to train for")
    training = data.training
    order = _order(config, data, seed, progress)
    groups = pairing.number_groups(training.groups)

    share = lesson.share if lesson else 0.0

    def taught(rows: BatchRows, embedded: Embedded) -> Tensor:
        return share * lesson.loss(module, training, rows, embedded.text)  # type: ignore[union-attr]

    contrastive = Contrastive(
        lambda rows: module.embed(training, rows, groups),
        loss,
        config.training.chunk,
        extra=taught if share else None,
        weight=1 - share,
    )
    trainer = Trainer(
        module,
        contrastive,
        lambda: _scores(config, module.image, module.text, data.validation, trainer.fabric.device),
        order,
        config.training,
        folder,
        identity=_identity(config, data, seed) | ({} if lesson is None else {"lesson": lesson.fingerprint}),
        report=loss.report,
        start_epoch=loss.start_epoch,
        start_step=loss.start_step,
        name_rows=lambda rows: [training.keys[owner] for owner in rows.owner],
        device=device,
        title=f"{config.name}, seed {seed}",
        progress=progress,
    )
    return trainer


def _order(config: TrainConfig, data: _Data, seed: int, progress: Progress = SILENT) -> BatchOrder:
    """Which rows meet in which batch."""
    training, policy = data.training, config.data.language
    owners = training.image_owner, training.text_owner
    common: Any = {
        "views": len(training.images),
        "batch_size": config.training.batch_size,
        "seed": seed,
        "plain": config.data.plain,
    }
    order: TextBatches
    if config.data.together:
        order = GroupedBatches(*owners, texts=config.data.together, **common)
    else:
        alternatives = TextAlternatives(training.text_owner, training.written, policy) if policy else None
        order = TextBatches(
            *owners,
            **common,
            shown=alternatives.originals if alternatives else None,
            substitute=alternatives.draw if alternatives else None,
            hard_negatives=data.mined.hard_negatives(training, config.data.hard) if data.mined else None,
        )
    if order.left_out:
        progress.say(
            f"{order.left_out} of {len(training.texts)} texts are left out of an epoch, other ones each time: "
            + (
                f"data.together is {config.data.together} texts a record"
                if config.data.together
                else "one record has so many that the others cannot stand beside them in every batch"
            )
        )
    if config.pairs.are_across:
        return order
    return MixedBatches(order, config.pairs, *owners, views=len(training.images), seed=seed)


def _scores(
    config: TrainConfig, image: nn.Module, text: nn.Module, validation: FeaturePairs, device: torch.device
) -> dict[str, float]:
    """Validation scores of what the config trains for."""
    both = _embedder(image, device), _embedder(text, device)
    return retrieval_scores(*both, validation, config.similarity, config.pairs)


def _embedder(side: nn.Module, device: torch.device) -> Embed:
    return lambda rows: cast(np.ndarray, side(torch.from_numpy(rows).to(device)).float().cpu().numpy())


def _identity(config: TrainConfig, data: _Data, seed: int) -> dict[str, Any]:
    """What a resumed run must agree on: not the number of workers, nor where its data lies, but what it is."""
    anywhere = dataclasses.replace(config.data, source="", mined="", workers=1)
    return {
        "config": to_dict(dataclasses.replace(config, card=card.CardText(), data=anywhere)),
        "towers": [tower.fingerprint for tower in data.towers],
        "data": data.fingerprints(),
        "seed": seed,
    }


def _package(
    config: TrainConfig,
    out: Path,
    data: _Data,
    trained: Sequence[Pairing],
    fits: Sequence[FitResult],
    skipped: Sequence[Skipped],
    lesson: Lesson | None,
    write: bool,
) -> TrainReport:
    """Score the model of all members, and save it where this is the process that writes."""
    image, text = (_joined([getattr(module, side).for_export() for module in trained]) for side in ("image", "text"))
    with torch.inference_mode():
        scores = _scores(config, image, text, data.validation, torch.device("cpu"))
    records = {"train": data.training.records, "val": data.validation.records}
    report = TrainReport(out / "model", scores, tuple(fits), tuple(skipped), records, data.unmined)
    if not write:
        return report
    prints = {f"{split}_fingerprint": value for split, value in data.fingerprints().items()}
    record = {
        "config": to_dict(dataclasses.replace(config, data=dataclasses.replace(config.data, source="", mined=""))),
        "data": {**records, **prints},
        "validation": scores,
        "best_epochs": [fit.best_epoch for fit in fits],
        "precision": fits[0].precision if fits else "32-true",
    }
    save(
        out / "model",
        name=config.name,
        image=_trained_side(config.image, towers.plain_image_part(config.image.tower), data.towers[0], image, config),
        text=_trained_side(config.text, towers.plain_text_part(config.text.tower), data.towers[1], text, config),
        dim=config.dim * config.members,
        similarity=config.similarity,
        card=card.write(config.name, config.card, record),
        training=record,
        licence=config.card.licence,
        compact=config.compact,
        seen=_seen(config, data, lesson),
        familiar=_familiarity(image, data, config.seed),
    )
    return report


def _seen(config: TrainConfig, data: _Data, lesson: Lesson | None) -> Seen:
    """The records of this run, and those that the models before it had seen."""
    before = [read_seen(load(config.init).folder)] if config.init else []
    return Seen(data.training.marks, data.validation.marks).after(*before, *(lesson.seen if lesson else ()))


def _familiarity(image: nn.Module, data: _Data, seed: int) -> familiarity.Familiarity | None:
    """What the training images look like to the model, from some of them; usual is what held-out ones look like."""
    drawn = np.random.default_rng(seed)
    vectors = []
    for rows, most in ((data.training.images[0], _FAMILIAR), (data.validation.images[0], _FAMILIAR // 2)):
        chosen = np.sort(drawn.permutation(len(rows))[:most])
        parts = [torch.from_numpy(np.asarray(rows[part])) for part in np.array_split(chosen, -(-len(chosen) // 100))]
        with torch.inference_mode():
            vectors.append(torch.cat([image(part) for part in parts]).numpy())
    return familiarity.fit(vectors[0], vectors[1], seed)


def _trained_side(
    settings: SideSettings, tower_part: Part, tower: ImageTower | TextTower, module: nn.Module, config: TrainConfig
) -> TrainedSide:
    head = ensemble_of(settings.head or Part("mlp"), config.members)
    return TrainedSide(tower, tower_part, head, module, settings.network)


def _joined(sides: list[nn.Module]) -> nn.Module:
    return sides[0] if len(sides) == 1 else EnsembleHead(sides)
