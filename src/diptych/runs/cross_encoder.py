"""The composition of the cross-encoder: from a config to tower, tokens, network, trainer and a saved model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych import encoders
from diptych.core.config import to_dict
from diptych.core.errors import ConfigError
from diptych.core.files import cache_folder
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, MapTower, Progress
from diptych.core.shapes import Float32
from diptych.core.types import Pair
from diptych.data import views
from diptych.data.features import CaptionedImages, collect_captions
from diptych.data.readers import Source, SourceOptions
from diptych.data.repeats import note_shared_by_splits
from diptych.data.seen import Seen
from diptych.encoders.half_precision import half_on
from diptych.evaluation import Positives, ranks_from_scores
from diptych.evaluation.metrics import recall_at
from diptych.models.card import CardText
from diptych.models.cross_encoder import folder as files
from diptych.models.cross_encoder.network import CrossNetwork
from diptych.models.cross_encoder.objectives import captioning_loss, matching_loss
from diptych.models.cross_encoder.scorer import Scorer
from diptych.models.cross_encoder.settings import (
    TEXT_TO_IMAGE,
    NetworkSettings,
    ObjectiveSettings,
    ScoringSettings,
)
from diptych.models.cross_encoder.vocabulary import FILE, Vocabulary, both_directions
from diptych.training.batch_order import BatchRows, GroupedBatches
from diptych.training.engine import FitResult, Trainer, accelerator
from diptych.training.settings import TrainingSettings

from . import unused
from .config import DataConfig
from .dual_encoder import ANY_SOURCE, TrainReport, read_splits, source_of
from .dual_encoder import forget as forget_run

KIND = files.KIND
_VALIDATION_PICTURES = 64
_STATISTICS_PICTURES = 256
_FITTED_PICTURES = 100  # held-out pictures that the scoring of image -> text is fitted on
_PRIORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
_LENGTHS = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class TokenSettings:
    """Where the region tokens come from."""

    tower: str = "efficientnet-lite0-maps"  # a tower that gives feature maps


@dataclass(frozen=True)
class SlowConfig:
    """Everything that `diptych train` needs for a cross-encoder; its TOML twin is configs/cross_encoder.toml."""

    name: str
    kind: str = KIND
    seed: int = 0
    vocabulary: int = 4000  # word pieces, learnt from the training texts
    texts_per_picture: int = 0  # in one batch; 0 for all. ITM and VSE take 1
    image: TokenSettings = field(default_factory=TokenSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: CardText = field(default_factory=CardText)

    def __post_init__(self) -> None:
        if self.kind != KIND:
            raise ConfigError(f'kind must be "{KIND}" for a cross-encoder, found {self.kind!r}')
        unused.refuse_unused(self.data, "a cross-encoder (texts_per_picture says how many texts meet)")
        if self.vocabulary < 100:
            raise ConfigError(f"vocabulary must be at least 100 word pieces, found {self.vocabulary}")
        if self.seed < 0 or self.texts_per_picture < 0:
            raise ConfigError(f"seed and texts_per_picture must be at least 0, found {self.seed}")

    @property
    def texts_in_batch(self) -> int:
        """Texts of a picture in a batch: ITM and VSE must never take a sibling for a wrong text."""
        return self.texts_per_picture if self.objective.name == "captioning" else 1


def train(
    config: SlowConfig,
    out: Path,
    *,
    source: str = "",
    options: SourceOptions = ANY_SOURCE,
    pairs: Mapping[str, list[Pair]] | None = None,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> TrainReport:
    """Train the cross-encoder that `config` describes on cached tokens, and save it in `out/model`.

    An interrupted run goes on from its last checkpoint. Arguments and errors as `diptych.runs.train`.
    """
    spec = source_of(config.data, source, given=pairs is not None)
    tower = map_tower(config.image.tower)
    accelerator(device)
    opened: Source | None = None
    if pairs is None:
        pairs, opened = read_splits(config.data, spec, options)
    root = (cache or cache_folder()) / "features"
    training = collect_captions(pairs["train"], tower, root, config.data.selection(), progress=progress)
    validation = collect_captions(pairs["val"], tower, root, config.data.selection((views.FULL,)), progress=progress)
    notes = opened.notes if opened else Notes()
    note_shared_by_splits(notes, training.contents, validation.contents)
    words = _words(out, training, config.vocabulary)
    unused.note_cut(notes, training.captions, words.count, config.network.max_tokens)
    torch.manual_seed(config.seed)
    network = CrossNetwork(tower.maps, len(words), config.network)
    sample = np.random.default_rng(config.seed).permutation(len(training.images[0]))[:_STATISTICS_PICTURES]
    network.fusion.fit_statistics(torch.from_numpy(training.images[0][np.sort(sample)]))
    trainer = _trainer(config, tower, network, words, training, validation, out, device, progress)
    fit = trainer.fit()
    network = network.cpu().eval()
    validator = _Validation(config, network, words, validation)
    scoring = validator.fit_scoring()
    scores = validator.measure(scoring)
    if not trainer.fabric.is_global_zero:  # one process writes
        records = {"train": training.records, "val": validation.records}
        return TrainReport(out / "model", scores, (fit,), (), records)
    report = _saved(config, out, tower, network, words, scoring, training, validation, scores, fit)
    unread = opened.skipped if opened else ()
    return dataclasses.replace(report, skipped=(*unread, *report.skipped), notes=tuple(notes))


def forget(out: Path) -> None:
    """Remove log, curve, checkpoints and vocabulary of an earlier run from `out`; whatever else lies there stays."""
    forget_run(out)
    (out / FILE).unlink(missing_ok=True)


def map_tower(spec: str) -> MapTower:
    """A tower that gives feature maps. Raises ConfigError for one that does not."""
    tower = encoders.image_tower(spec)
    if not isinstance(tower, MapTower):
        raise ConfigError(
            f"the image tower {spec!r} gives no feature maps; choose efficientnet-lite0-maps, or a tower with `maps`"
        )
    return tower


def _words(out: Path, training: CaptionedImages, size: int) -> Vocabulary:
    """The run's vocabulary: learnt from the training texts once, and read again by a resumed run."""
    if not (out / FILE).exists():
        Vocabulary.learn(training.captions, size).write(out / FILE)
    return Vocabulary.read(out / FILE)


def _trainer(
    config: SlowConfig,
    tower: MapTower,
    network: CrossNetwork,
    words: Vocabulary,
    training: CaptionedImages,
    validation: CaptionedImages,
    folder: Path,
    device: str,
    progress: Progress,
) -> Trainer:
    pieces = words.encode(training.captions, config.network.max_tokens)
    order = GroupedBatches(
        training.image_owner,
        training.text_owner,
        texts=config.texts_in_batch,
        views=len(training.images),
        batch_size=config.training.batch_size,
        seed=config.seed,
        plain=config.data.plain,
    )

    def step(rows: BatchRows) -> Tensor:
        device = trainer.fabric.device
        flat, inputs, targets = batch_arrays(training, pieces, rows)
        regions = network.regions(torch.from_numpy(flat).to(device))
        read, wanted = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        if config.objective.name == "captioning":
            return captioning_loss(network, regions, read, wanted, config.objective)
        return matching_loss(network, regions, read, config.objective)

    validator = _Validation(config, network, words, validation)
    trainer = Trainer(
        network,
        step,
        lambda: validator.measure(ScoringSettings()),
        order,
        config.training,
        folder,
        identity={
            "config": to_dict(
                dataclasses.replace(
                    config, card=CardText(), data=dataclasses.replace(config.data, source="", workers=1)
                )
            ),
            "tower": tower.fingerprint,
            "data": {"train": training.fingerprint(), "val": validation.fingerprint()},
        },
        device=device,
        title=f"{config.name}, seed {config.seed}",
        progress=progress,
    )
    return trainer


def batch_arrays(
    training: CaptionedImages, pieces: list[list[int]], rows: BatchRows
) -> tuple[Float32[np.ndarray, "b f"], np.ndarray, np.ndarray]:
    """Features of the batch's pictures, and inputs and targets (b, 2 c, t) of the c texts of each.

    A picture with fewer texts than another has empty sequences, which cost nothing.
    """
    starts = np.flatnonzero(np.r_[True, rows.owner[1:] != rows.owner[:-1]])
    counts = np.diff(np.r_[starts, len(rows.owner)])
    flat = np.empty((len(starts), training.images[0].dim), dtype=np.float32)
    for view, stored in enumerate(training.images):
        here = rows.view[starts] == view
        if here.any():
            flat[here] = stored[rows.image[starts][here]]
    read, wanted = both_directions([pieces[text] for text in rows.text])
    most, longest = int(counts.max()), read.shape[1]
    inputs = np.zeros((len(starts), 2 * most, longest), dtype=np.int64)
    targets = np.zeros_like(inputs)
    picture = np.repeat(np.arange(len(starts)), counts)
    slot = np.arange(len(rows.text)) - np.repeat(starts, counts)
    for way in range(2):
        chosen = slice(way * len(rows.text), (way + 1) * len(rows.text))
        inputs[picture, 2 * slot + way] = read[chosen]
        targets[picture, 2 * slot + way] = wanted[chosen]
    return flat, inputs, targets


class _Validation:
    """Retrieval among held-out pictures, one text each, with the network as it is now."""

    def __init__(self, config: SlowConfig, network: CrossNetwork, words: Vocabulary, pairs: CaptionedImages) -> None:
        self._network, self._words, self._pairs = network, words, pairs
        self._captioner = config.objective.name == "captioning"
        count = min(_VALIDATION_PICTURES, pairs.records)
        # spread over the records, so that a sorted source does not give only its beginning
        self._records = np.linspace(0, pairs.records - 1, count).astype(np.int64)

    def measure(self, scoring: ScoringSettings) -> dict[str, float]:
        """R@1, 5, 10 of both directions in percent; "score" is their sum."""
        first = np.searchsorted(self._pairs.text_owner, self._records)
        texts = [self._pairs.captions[place] for place in first]
        scorer = self._scorer(scoring)
        regions = self._regions(self._records)
        labels = np.arange(len(texts))
        found: dict[str, float] = {}
        h = scorer.matrix(regions, texts, TEXT_TO_IMAGE)
        for name, queries in (("i2t", scorer.corrected(h, texts).T), ("t2i", h)):
            ranks = ranks_from_scores(queries, Positives.from_labels(labels, labels))
            found |= {f"{name} R@{k}": round(100 * float(recall_at(ranks, k).mean()), 2) for k in (1, 5, 10)}
        return {"score": round(sum(found.values()), 2), **found}

    def fit_scoring(self) -> ScoringSettings:
        """Prior weight and length exponent with the best image -> text ranks on held-out pictures."""
        if not self._captioner:
            return ScoringSettings(prior=0.0, length=0.0)
        records = self._records[:: max(1, len(self._records) // _FITTED_PICTURES)]
        owned = np.flatnonzero(np.isin(self._pairs.text_owner, records))
        texts = [self._pairs.captions[place] for place in owned]
        scorer = self._scorer(ScoringSettings())
        h = scorer.matrix(self._regions(records), texts, TEXT_TO_IMAGE)
        prior = scorer.prior(texts)[:, None]
        lengths = scorer.lengths(texts)
        positives = Positives.from_labels(records, self._pairs.text_owner[owned])
        best, best_rank = ScoringSettings(), math.inf
        for weight in _PRIORS:
            for length in _LENGTHS:
                scores = (h - weight * prior) / lengths[:, None] ** length
                rank = float(np.log1p(ranks_from_scores(scores.T, positives).best).mean())
                if rank < best_rank:
                    best, best_rank = ScoringSettings(prior=weight, length=length), rank
        return best

    def _scorer(self, scoring: ScoringSettings) -> Scorer:
        half = half_on(str(self._network.empty_image_token.device)).quicker
        return Scorer(self._network, self._words, scoring, captioner=self._captioner, half=half)

    def _regions(self, records: np.ndarray) -> np.ndarray:
        first = np.searchsorted(self._pairs.image_owner, records)
        device = self._network.empty_image_token.device
        with torch.inference_mode():
            parts = [
                self._network.fusion(torch.from_numpy(self._pairs.images[0][part]).to(device)).cpu().numpy()
                for part in np.array_split(first, -(-len(first) // 64))
            ]
        return np.concatenate(parts)


def _saved(
    config: SlowConfig,
    out: Path,
    tower: MapTower,
    network: CrossNetwork,
    words: Vocabulary,
    scoring: ScoringSettings,
    training: CaptionedImages,
    validation: CaptionedImages,
    scores: Mapping[str, float],
    fit: FitResult,
) -> TrainReport:
    records = {"train": training.records, "val": validation.records}
    record: dict[str, Any] = {
        "config": to_dict(dataclasses.replace(config, data=dataclasses.replace(config.data, source=""))),
        "data": {
            **records,
            "train_fingerprint": training.fingerprint(),
            "val_fingerprint": validation.fingerprint(),
        },
        "validation": dict(scores),
        "best_epochs": [fit.best_epoch],
        "precision": fit.precision,
    }
    files.save(
        out / "model",
        config=files.CrossConfig(
            name=config.name,
            image=files.TowerConfig(config.image.tower, tower.maps, tower.preprocess, tower.fingerprint),
            vocabulary=len(words),
            network=config.network,
            objective=config.objective,
            scoring=scoring,
            licence=config.card.licence,
            training=record,
        ),
        network=network,
        words=words,
        tower=tower,
        card=_card(config, record, scoring),
        seen=Seen(training.marks, validation.marks),
    )
    return TrainReport(out / "model", scores, (fit,), (*training.skipped, *validation.skipped), records)


def _card(config: SlowConfig, record: Mapping[str, Any], scoring: ScoringSettings) -> str:
    data, scores, text = record["data"], record["validation"], config.card
    rows = "\n".join(
        f"| {label} | " + " | ".join(f"{scores[f'{key} R@{k}']:.1f}" for k in (1, 5, 10)) + " |"
        for key, label in (("i2t", "image → text"), ("t2i", "text → image"))
    )
    parts = [
        f"# {config.name}",
        text.summary,
        "## Data\n\n" + (text.data or "Not stated by whoever trained it."),
        f"## Figures\n\nAmong {min(_VALIDATION_PICTURES, data['val'])} of the {data['val']} held-out records, one "
        f"text each (the best epoch was chosen by the same):\n\n| | R@1 | R@5 | R@10 |\n|---|---|---|---|\n{rows}",
        "## How it was made\n\n"
        f"- image tower `{config.image.tower}`, frozen; decoder of {config.network.layers} layers, width "
        f"{config.network.width}\n"
        f"- objective `{config.objective.name}`; seed {config.seed}; best epoch {record['best_epochs'][0]}\n"
        f"- image → text scores: prior {scoring.prior}, length {scoring.length}, fitted on the held-out records\n"
        f"- records: {data['train']} for training (fingerprint "
        f"`{data['train_fingerprint'][:16]}`), {data['val']} held out",
        "## Limits\n\n" + text.limits if text.limits else "",
        "## Licence\n\n" + text.licence if text.licence else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
