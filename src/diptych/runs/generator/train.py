"""One training run of a generator, from its config to a saved model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.config import to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import cache_folder
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress, TextTower
from diptych.core.types import Pair
from diptych.data.readers import Source, SourceOptions
from diptych.data.repeats import note_shared_by_splits
from diptych.encoders.export import read_weights
from diptych.models.card import CardText
from diptych.models.heads import Standardise
from diptych.runs.dual_encoder import ANY_SOURCE, TrainReport, read_splits, source_of
from diptych.runs.dual_encoder import forget as forget_run
from diptych.synthesis import folder as files
from diptych.synthesis import frozen_features
from diptych.synthesis.conditions import EncoderTexts, text_tower
from diptych.synthesis.discriminator import XmcDiscriminator
from diptych.synthesis.game import DISCRIMINATOR, GENERATOR, Batch, Game, Outcome
from diptych.synthesis.generator import XmcGenerator
from diptych.synthesis.judge import Judge
from diptych.synthesis.settings import XmcSettings
from diptych.synthesis.stack import StackDiscriminator, StackGenerator
from diptych.synthesis.x_mrs import XMrsGame
from diptych.synthesis.xmc import XmcGame
from diptych.training.adversarial import AdversarialObjective
from diptych.training.batch_order import BatchRows, RandomBatches
from diptych.training.cuda_graph import LossTerm
from diptych.training.engine import FitResult, Trainer, accelerator

from .config import SynthesisConfig
from .data import PicturePairs
from .on_device import HeldPairs
from .progress import JUDGED, SAMPLES, Watcher

_STATISTICS_TEXTS, _STATISTICS_PICTURES = 4096, 128


class Players(nn.Module):
    """Generator and discriminator as the one module that the engine trains."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, rate: float) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        discriminator.learning_rate_scale = rate  # type: ignore[assignment]


def build(config: SynthesisConfig, features: int, classes: int = 0, look: nn.Module | None = None) -> Players:
    """The networks with their first weights, the same for the same seed.

    Args:
        config: what to train.
        features: numbers that the text tower gives for a text.
        classes: of the training records, for the class head of X-MRS.
        look: the frozen network that a discriminator on pretrained features stands on.

    Raises ConfigError for sizes that do not fit.
    """
    torch.manual_seed(config.seed)
    generator: nn.Module
    discriminator: nn.Module
    if config.x_mrs:
        generator = StackGenerator(config.size, features, config.x_mrs)
        discriminator = StackDiscriminator(config.size, classes, config.x_mrs)
    else:
        settings = config.xmc or XmcSettings()
        below = frozen_features.maps_of(look, config.size) if settings.pretrained else None
        generator = XmcGenerator(config.size, features, settings)
        discriminator = XmcDiscriminator(config.size, features, settings, below)
    players = Players(generator, discriminator, config.discriminator_rate)
    players.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return players


def _game(config: SynthesisConfig, players: Players, tower: TextTower, look: nn.Module) -> tuple[Game, list[nn.Module]]:
    """The rules, and the frozen networks that they need."""
    if config.x_mrs:
        if not isinstance(tower, EncoderTexts):
            raise ConfigError(f"X-MRS is conditioned on a dual encoder's space, found {config.text_part.name!r}")
        judge = Judge(tower.encoder, config.x_mrs.encoder_size)
        return XMrsGame(players.generator, players.discriminator, config.x_mrs, judge, config.augment), [look, judge]
    settings = config.xmc or XmcSettings()
    return XmcGame(players.generator, players.discriminator, settings, look, config.augment), [look]


def _fit_statistics(players: Players, training: PicturePairs, look: nn.Module, seed: int) -> None:
    """Centre and scale what both networks read by a sample of it; begin with the mean colour of real pictures."""
    sample = training.conditions(_STATISTICS_TEXTS, seed)
    for side in (players.generator, players.discriminator):
        standard = getattr(side, "standard", None)
        if isinstance(standard, Standardise):
            standard.fit(sample)
    pictures = training.pictures(training.spread(_STATISTICS_PICTURES))
    painter: Any = players.generator.picture
    painter.begin_with(pictures)
    if isinstance(players.discriminator, XmcDiscriminator) and players.discriminator.below is not None:
        with torch.no_grad():
            players.discriminator.below.fit(look.look(pictures))  # type: ignore[operator]


def _start_from(generator: nn.Module, config: SynthesisConfig, tower: TextTower) -> None:
    """Give the generator the weights of `config.init`. Raises ModelError for one that does not fit."""
    folder = files.find(config.init)
    started = files.read_config(folder)
    files.verify(folder, started)
    if started.text.fingerprint != tower.fingerprint:
        raise ModelError(
            f"{config.init!r} reads texts through {started.text.tower.name!r}, this config through another tower "
            f"({config.text_part.name!r}); set text.tower to that of the generator, or leave init out"
        )
    try:
        generator.load_state_dict(read_weights(folder, files.GRAPH))
    except RuntimeError as error:
        raise ModelError(
            f"the weights of init = {config.init!r} do not fit this config; "
            f"use the design, size and widths that {folder / files.CONFIG} names under training, or leave init out"
        ) from error


def forget(out: Path) -> None:
    """Remove log, curve, checkpoints and samples of an earlier run from `out`; whatever else lies there stays."""
    forget_run(out)
    for path in (out / SAMPLES).glob("step-*.png"):
        path.unlink()


def train(
    config: SynthesisConfig,
    out: Path,
    *,
    source: str = "",
    options: SourceOptions = ANY_SOURCE,
    pairs: Mapping[str, list[Pair]] | None = None,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> TrainReport:
    """Train the generator that `config` describes, and save it in `out/model`.

    An interrupted run goes on from its last checkpoint. Arguments and errors as `diptych.runs.train`.
    """
    spec = source_of(config.data, source, given=pairs is not None)
    tower = text_tower(config.text_part)
    look = frozen_features.eyes(config.eyes)
    built = build(config, tower.dim, look=look)  # what cannot be built is refused before anything is read
    if config.init:
        _start_from(built.generator, config, tower)
    accelerator(device)
    opened: Source | None = None
    if pairs is None:
        pairs, opened = read_splits(config.data, spec, options)
    root = (cache or cache_folder()) / "features"
    training = PicturePairs.collect(config, pairs["train"], tower, root, config.data.views, progress)
    validation = PicturePairs.collect(config, pairs["val"], tower, root, ("full",), progress)
    notes = opened.notes if opened else Notes()
    note_shared_by_splits(notes, training.pairs.contents, validation.pairs.contents)
    players = build(config, tower.dim, training.classes, look)
    _fit_statistics(players, training, look, config.seed)
    if config.init:
        _start_from(players.generator, config, tower)
    game, frozen = _game(config, players, tower, look)
    total = config.steps * config.training.epochs
    objective = _objective(
        config, players, game, training, lambda: trainer.fabric.device, total, _fits(training, device)
    )
    watcher = Watcher(config, players.generator, look, training, validation, out, lambda: objective.step + 1)
    latest: dict[str, float] = {}

    def validate() -> dict[str, float]:
        latest.clear()
        latest.update(watcher.validate())
        return latest

    def report() -> dict[str, Any]:
        facts = objective.epoch_report()
        return facts | watcher.raise_alarms({**facts, **latest}, progress)

    trainer: Trainer = Trainer(
        players,
        objective,
        validate,
        RandomBatches(
            training.pairs.image_owner,
            training.pairs.text_owner,
            steps=config.steps,
            batch_size=config.training.batch_size,
            views=len(training.pairs.images),
            seed=config.seed,
            plain=config.data.plain,
        ),
        config.training,
        out,
        identity={
            "config": to_dict(_what_stays(config)),
            "tower": tower.fingerprint,
            "data": {"train": training.pairs.fingerprint(), "val": validation.pairs.fingerprint()},
        },
        report=report,
        report_step=objective.step_report,
        start_step=objective.start_step,
        name_rows=lambda rows: [training.pairs.keys[owner] for owner in rows.owner],
        device=device,
        title=f"{config.name}, seed {config.seed}",
        progress=progress,
    )
    for part in frozen:
        part.to(trainer.fabric.device)
    fit = trainer.fit()
    records = {"train": training.pairs.records, "val": validation.pairs.records}
    best = fit.rows[fit.best_epoch - 1] if fit.rows else {}  # only the first process has the log
    scores = {key: value for key, value in best.items() if key.startswith(("R@", "score"))}
    skipped = (*(opened.skipped if opened else ()), *training.pairs.skipped, *validation.pairs.skipped)
    if trainer.fabric.is_global_zero:  # one process writes
        _saved(config, out, players, tower, training, validation, scores, fit)
    return TrainReport(out / "model", scores, (fit,), skipped, records, notes=tuple(notes))


def _what_stays(config: SynthesisConfig) -> SynthesisConfig:
    """What a run that goes on must agree on. At a constant rate it may end sooner or later than was planned."""
    training = config.training
    if training.schedule == "constant":
        training = dataclasses.replace(training, epochs=1)
    data = dataclasses.replace(config.data, source="", workers=1)
    return dataclasses.replace(config, card=CardText(), data=data, training=training, replay=True)


def _objective(
    config: SynthesisConfig,
    players: Players,
    game: Game,
    training: PicturePairs,
    device: Callable[[], torch.device],
    steps: int,
    fits: bool,
) -> AdversarialObjective:
    """With the batches that it reads: from the GPU's memory where all pairs fit into it, else one by one."""
    hold = config.replay and fits

    def term(play: Callable[[Batch], Outcome]) -> LossTerm:
        def loss(batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
            outcome = play(batch)
            return outcome.loss, outcome.facts

        return loss

    @functools.cache
    def held() -> HeldPairs:
        return HeldPairs(training, device())

    def read(rows: BatchRows) -> Batch:
        return held().batch(rows) if hold else training.batch(rows, device())

    return AdversarialObjective(
        {GENERATOR: players.generator, DISCRIMINATOR: players.discriminator},
        {GENERATOR: term(game.generate), DISCRIMINATOR: term(game.discriminate)},
        config.order,
        steps,
        read=read,
        replay=hold,  # only these batches have the same shapes each time
    )


def _fits(training: PicturePairs, device: str) -> bool:
    """Whether there is a GPU whose free memory has room for all pairs and, three times as much, for the training."""
    kind, which = accelerator(device)
    if kind != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(which[0] if isinstance(which, list) else 0)
    return HeldPairs.size_of(training) <= free / 4


def _saved(
    config: SynthesisConfig,
    out: Path,
    players: Players,
    tower: TextTower,
    training: PicturePairs,
    validation: PicturePairs,
    scores: Mapping[str, float],
    fit: FitResult,
) -> None:
    record: dict[str, Any] = {
        "config": to_dict(dataclasses.replace(config, data=dataclasses.replace(config.data, source=""))),
        "data": {
            "train": training.pairs.records,
            "val": validation.pairs.records,
            "train_fingerprint": training.pairs.fingerprint(),
            "val_fingerprint": validation.pairs.fingerprint(),
        },
        "validation": dict(scores),
        "best_epochs": [fit.best_epoch],
        "precision": fit.precision,
        "steps": config.steps * fit.epochs,
        "seconds": round(fit.seconds, 1),
    }
    generator = players.generator.cpu().eval()
    files.save(
        out / "model",
        files.GeneratorConfig(
            name=config.name,
            design=config.design,
            size=config.size,
            noise=int(generator.noise),  # type: ignore[arg-type]
            text=files.TextSide(config.text_part, tower.dim, config.max_words, tower.fingerprint),
            condition=config.condition,
            licence=config.card.licence,
            training=record,
        ),
        generator,
        write_card(config, record),
    )


def write_card(config: SynthesisConfig, record: Mapping[str, Any]) -> str:
    """The model card: the person's words, then the measured facts of the training record."""
    data, scores, text = record["data"], record["validation"], config.card
    found = ", ".join(f"R@{k} {scores[f'R@{k}']:.1f}" for k in (1, 5, 10))
    parts = [
        f"# {config.name}",
        text.summary or f"Makes pictures of {config.size} x {config.size} pixels from words.",
        "## Data\n\n" + (text.data or "Not stated by whoever trained it."),
        "## Figures\n\n"
        f"A held-out record's real picture found by the generated one, among {min(JUDGED, data['val'])} records, in "
        f"the features of `{config.eyes.name}`: {found} (the best round was chosen by their sum).",
        "## How it was made\n\n"
        f"- design `{config.design}`, text tower `{config.text_part.name}`, frozen; seed {config.seed}\n"
        f"- {record['steps']} batches of {config.training.batch_size}, {config.discriminator_steps} for the "
        f"discriminator to 1 for the generator; best round {record['best_epochs'][0]} of {config.steps} batches each\n"
        f"- records: {data['train']} for training (fingerprint `{data['train_fingerprint'][:16]}`), "
        f"{data['val']} held out\n"
        "- the full config is in `config.json`",
        "## Limits\n\n" + text.limits if text.limits else "",
        "## Licence\n\n" + text.licence if text.licence else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
