"""The training of a generator against a discriminator, each batch a step of one of the two."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core import registry
from diptych.core.config import Part
from diptych.core.errors import ModelError
from diptych.core.protocols import TextTower
from diptych.data import views
from diptych.data.features import FeaturePairs
from diptych.encoders.export import read_weights
from diptych.models import card
from diptych.models.folder import CONFIG
from diptych.models.heads import Standardise
from diptych.runs.reading import Splits
from diptych.runs.run import Fitted, RunContext
from diptych.runs.trained import TrainedRecipe
from diptych.synthesis import SavedGenerator, frozen_features, load
from diptych.synthesis import folder as files
from diptych.synthesis.adversarial_losses import DISCRIMINATOR, GENERATOR, AdversarialBatch, AdversarialLosses, StepLoss
from diptych.synthesis.conditions import EncoderTexts, text_tower
from diptych.synthesis.frozen_encoder import FrozenImageEncoder
from diptych.synthesis.settings import XmcSettings
from diptych.synthesis.words import IN_CONTEXT, check_words
from diptych.synthesis.x_mrs_losses import XMrsLosses
from diptych.synthesis.x_mrs_networks import XMrsGenerator
from diptych.synthesis.xmc_generator import XmcGenerator
from diptych.synthesis.xmc_losses import XmcLosses
from diptych.training.adversarial import AdversarialObjective
from diptych.training.batch_order import BatchRows, RandomBatches
from diptych.training.cuda_graph import LossTerm
from diptych.training.engine import Trainer, accelerator

from .config import GeneratorConfig
from .data import GeneratorPairs
from .monitor import MEASURED, SAMPLES, RoundMonitor
from .on_device import DevicePairs

_STATISTICS_TEXTS, _STATISTICS_IMAGES = 4096, 128


class TwoNetworks(nn.Module):
    """Generator and discriminator as the one module that the engine trains."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, rate: float) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        discriminator.learning_rate_scale = rate  # type: ignore[assignment]


def build(config: GeneratorConfig, features: int, classes: int = 0, frozen: nn.Module | None = None) -> TwoNetworks:
    """The networks with their first weights, the same for the same seed.

    Args:
        config: what to train.
        features: numbers that the text tower gives for a text.
        classes: of the training records, for the class head of X-MRS.
        frozen: the network below a discriminator on pretrained features.

    Raises ConfigError for sizes that do not fit.
    """
    torch.manual_seed(config.seed)
    generator: nn.Module
    below = None
    if config.x_mrs:
        generator = XMrsGenerator(config.size, features, config.x_mrs)
    else:
        settings = config.xmc or XmcSettings()
        below = frozen_features.example_features(frozen, config.size) if settings.pretrained else None
        generator = XmcGenerator(config.size, features, settings)
    discriminator: nn.Module = registry.build(
        "discriminator",
        config.discriminator or Part(config.design),
        size=config.size,
        features=features,
        classes=classes,
        settings=config.x_mrs or config.xmc,
        below=below,
    )
    networks = TwoNetworks(generator, discriminator, config.discriminator_rate)
    networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return networks


def _losses(
    config: GeneratorConfig, networks: TwoNetworks, encoder: FrozenImageEncoder | None, frozen: nn.Module
) -> tuple[AdversarialLosses[Any], list[nn.Module]]:
    """The losses of the design, and the frozen networks that they need."""
    both = networks.generator, networks.discriminator
    if config.x_mrs and encoder:
        return XMrsLosses(*both, config.x_mrs, encoder, config.augment), [frozen, encoder]
    settings = config.xmc or XmcSettings()
    return XmcLosses(*both, settings, frozen, config.augment), [frozen]


def _fit_statistics(
    networks: TwoNetworks, training: GeneratorPairs, frozen: nn.Module, config: GeneratorConfig
) -> None:
    """Centre and scale what both networks read by a sample of it; start from the mean colour of real images."""
    settings = config.xmc or XmcSettings()
    if settings.standardise:
        sample = training.conditions(_STATISTICS_TEXTS, config.seed)
        for side in (networks.generator, networks.discriminator):
            standard = getattr(side, "standard", None)
            if isinstance(standard, Standardise):
                standard.fit(sample)
    images = training.images(training.spread(_STATISTICS_IMAGES))
    if settings.mean_colour:
        colours: Any = networks.generator.picture
        colours.start_from_mean_of(images)
    below: Any = getattr(networks.discriminator, "below", None)
    if below is not None:
        with torch.no_grad():
            below.fit(frozen.extract(images))  # type: ignore[operator]


def _start_from(generator: nn.Module, config: GeneratorConfig, tower: TextTower) -> None:
    """Give the generator the weights of `config.init`. Raises ModelError for one that does not fit."""
    folder = files.find(config.init)
    started = files.read_config(folder)
    if started.text.words != config.text.words:
        raise ModelError(
            f'{config.init!r} reads words "{started.text.words}", this config "{config.text.words}"; set text.words to '
            "that of the generator, or leave init out"
        )
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
            f"use the design, size and widths that {folder / CONFIG} names under training, or leave init out"
        ) from error


class GeneratorRecipe(TrainedRecipe[GeneratorConfig]):
    """A generator of small images from text features, and the discriminator that trains it."""

    own_files = (f"{SAMPLES}/step-*.png",)

    def __init__(self, config: GeneratorConfig, place: RunContext) -> None:
        super().__init__(config, place)
        self.tower = text_tower(config.text_part)
        check_words(config.text.words, self.tower, config.text_part.name)
        self.frozen = frozen_features.frozen_network(config.frozen_network)
        if self._is_random:
            place.progress.say(
                f"warning: the frozen network {config.frozen_network.name} has random weights: its features tell "
                "colours and textures apart, not objects; the best round is chosen by them too"
            )
        built = build(config, self.tower.dim, frozen=self.frozen)
        if config.init:
            _start_from(built.generator, config, self.tower)
        self.encoder: FrozenImageEncoder | None = None
        if config.x_mrs and isinstance(self.tower, EncoderTexts):
            self.encoder = FrozenImageEncoder(self.tower.encoder, config.x_mrs.encoder_size)

    @staticmethod
    def load(folder: Path) -> SavedGenerator:
        """The saved model."""
        return load(folder)

    @property
    def towers(self) -> list[str]:
        """Fingerprint of the text tower."""
        return [self.tower.fingerprint]

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """Images in the size that is generated, and text features."""
        place = self.place
        self.pairs, self.held_out = (
            GeneratorPairs.collect(self.config, pairs, self.tower, place.features, names, place.progress)
            for pairs, names in ((splits.train, self.config.data.views), (splits.val, (views.FULL,)))
        )
        return self.pairs.pairs, self.held_out.pairs

    def fit(self) -> Fitted:
        """Train both networks; the scores are those of the best round."""
        config, pairs, place = self.config, self.pairs, self.place
        self.networks = networks = build(config, self.tower.dim, pairs.classes, self.frozen)
        _fit_statistics(networks, pairs, self.frozen, config)
        if config.init:
            _start_from(networks.generator, config, self.tower)
        losses, frozen = _losses(config, networks, self.encoder, self.frozen)
        objective = self._objective(losses, lambda: trainer.fabric.device)
        monitor = RoundMonitor(
            config, networks.generator, self.frozen, pairs, self.held_out, place.folder, lambda: objective.step + 1
        )
        latest: dict[str, float] = {}

        def validate() -> dict[str, float]:
            latest.clear()
            latest.update(monitor.validate())
            return latest

        def report() -> dict[str, Any]:
            facts = objective.epoch_report()
            return facts | monitor.raise_alarms({**facts, **latest}, place.progress)

        trainer: Trainer = self.trainer(
            networks,
            objective,
            validate,
            RandomBatches(
                self.training.image_owner,
                self.training.text_owner,
                steps=config.steps,
                batch_size=config.training.batch_size,
                views=len(self.training.images),
                seed=config.seed,
                plain=config.data.plain,
            ),
            report=report,
            report_step=objective.step_report,
            start_step=objective.start_step,
        )
        for part in frozen:
            part.to(trainer.fabric.device)
        result = trainer.fit()
        best = result.rows[result.best_epoch - 1] if result.rows else {}  # only the first process has the log
        scores = {key: value for key, value in best.items() if key.startswith(("R@", "score"))}
        return Fitted(scores, (result,), trainer.fabric.is_global_zero)

    def _objective(self, losses: AdversarialLosses[Any], device: Callable[[], torch.device]) -> AdversarialObjective:
        """With batches from the memory of the GPU where all pairs fit into it, otherwise read one by one."""
        config, networks = self.config, self.networks
        hold = config.replay and _fits(self.pairs, self.place.device)

        def term(play: Callable[[AdversarialBatch], StepLoss]) -> LossTerm:
            def loss(batch: AdversarialBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
                outcome = play(batch)
                return outcome.loss, outcome.facts

            return loss

        @functools.cache
        def held() -> DevicePairs:
            return DevicePairs(self.pairs, device())

        def read(rows: BatchRows) -> AdversarialBatch:
            return held().batch(rows) if hold else self.pairs.batch(rows, device())

        return AdversarialObjective(
            {GENERATOR: networks.generator, DISCRIMINATOR: networks.discriminator},
            {GENERATOR: term(losses.generator_loss), DISCRIMINATOR: term(losses.discriminator_loss)},
            config.order,
            config.steps * config.training.epochs,
            read=read,
            replay=hold,  # only these batches have the same shapes each time
        )

    def record(self, fitted: Fitted) -> dict[str, Any]:
        """As of every run, with the steps and seconds that it took."""
        (result,) = fitted.fits
        took = {"steps": self.config.steps * result.epochs, "seconds": round(result.seconds, 1)}
        return super().record(fitted) | took | ({"random_frozen_network": True} if self._is_random else {})

    @property
    def _is_random(self) -> bool:
        """Whether the frozen network's weights are."""
        return bool(getattr(self.frozen, "is_random", False))

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the generator; the discriminator stays in the checkpoints."""
        config, tower = self.config, self.tower
        generator = self.networks.generator.cpu().eval()
        files.save(
            folder,
            files.SavedGeneratorConfig(
                name=config.name,
                design=config.design,
                size=config.size,
                noise=int(generator.noise),  # type: ignore[arg-type]
                text=files.TextSide(
                    config.text_part, tower.dim, config.max_words, tower.fingerprint, config.text.words
                ),
                condition=config.condition,
                licence=config.card.licence,
                training=record,
            ),
            generator,
            write_card(config, record),
        )


def _fits(training: GeneratorPairs, device: str) -> bool:
    """Whether there is a GPU whose free memory has room for all pairs and, three times as much, for the training."""
    kind, which = accelerator(device)
    if kind != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(which[0] if isinstance(which, list) else 0)
    return DevicePairs.size_of(training) <= free / 4


def write_card(config: GeneratorConfig, record: Mapping[str, Any]) -> str:
    """The model card of a generator."""
    scores = record["validation"]
    random = ", which had random weights" if record.get("random_frozen_network") else ""
    recalls = ", ".join(f"R@{k} {scores[f'R@{k}']:.1f}" for k in card.CUTS)
    text = card.CardText(
        config.card.summary or f"Makes images of {config.size} x {config.size} pixels from words.",
        config.card.data,
        config.card.licence,
        config.card.limits,
    )
    return card.write(
        config.name,
        text,
        record,
        f"A held-out record's real image found by the generated one, among {min(MEASURED, record['data']['val'])} "
        f"records, in the features of `{config.frozen_network.name}`{random}: {recalls} (the best "
        "round was chosen by their sum).",
        [
            f"design `{config.design}`, text tower `{config.text_part.name}`, frozen"
            f"{', words in their context' if config.text.words == IN_CONTEXT else ''}; seed {config.seed}",
            f"{record['steps']} batches of {config.training.batch_size}, {config.discriminator_steps} for the "
            f"discriminator to 1 for the generator; best round {record['best_epochs'][0]} of {config.steps} batches "
            "each",
        ],
    )
