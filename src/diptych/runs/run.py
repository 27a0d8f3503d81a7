"""One way from a config to a run: read the source, embed it, train, save the model, and say what was done.

`train` does what all kinds of models share. `KINDS` names the kinds, each with its config and its `Recipe`, a class in
a file of its own that says only what differs.
"""

from __future__ import annotations

import dataclasses
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from diptych.core import config as configs
from diptych.core.checks import PATH, of_type
from diptych.core.errors import ConfigError
from diptych.core.files import cache_folder
from diptych.core.notes import Note, Notes, notes_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Pair, Skipped
from diptych.data.features import CaptionedImages
from diptych.data.readers import Source, SourceOptions
from diptych.data.repeats import Contents, note_shared_by_splits
from diptych.models import DualEncoder

from .before_after import AFTER, add_to_model, before_after, further_source, validation_sources
from .config import TrainConfig
from .mixture import parts_of, read_parts
from .reading import ANY_SOURCE, AnySource, Splits
from .recalls import Recalls
from .several_sources import MixedSource, check_validation, described
from .source_settings import SourceSettings, parse_source

KINDS = {  # kind of a config -> its class, and what trains it
    "dual-encoder": ("config:DualEncoderConfig", "dual_encoder:DualEncoderRecipe"),
    "cross-encoder": ("cross_encoder:CrossEncoderConfig", "cross_encoder:CrossEncoderRecipe"),
    "text-cross-encoder": (
        "text_cross_encoder:TextCrossEncoderConfig",
        "text_cross_encoder:TextCrossEncoderRecipe",
    ),
    "generator": ("generator.config:GeneratorConfig", "generator.recipe:GeneratorRecipe"),
    "distilled": ("distilled:DistilledConfig", "distilled:DistilledRecipe"),
    "distilled-text": ("text_distilled:TextDistilledConfig", "text_distilled:TextDistilledRecipe"),
}
ONE_STEP = "one_step:OneStepRecipe"  # of a dual encoder whose config has a fit in place of a loss
DEFAULT = "dual-encoder"  # kind of a config that names none
MODEL = "model"  # the folder of a run's model
_MEMBER_FACTS = ("best_epoch", "best_score", "epochs", "seconds", "precision", "unscored")  # of a FitResult, in JSON

C = TypeVar("C", bound=TrainConfig)


@dataclass(frozen=True)
class Run:
    """The result of a training. `folder` holds logs, curves, checkpoints and the model."""

    folder: Path
    kind: str
    scores: Mapping[str, float]  # on the validation records, of the saved model
    records: Mapping[str, int]  # "train" and "val"
    fits: tuple[Any, ...]  # a training.engine.FitResult for each member that was trained
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[Note, ...] = ()  # on how the source was read
    unmined: int = 0  # training records that the file of mined negatives does not name
    before_after: tuple[Recalls, ...] = ()  # on the validation records and each further source
    load: Callable[[Path], Any] = field(repr=False, kw_only=True)

    @property
    def model_folder(self) -> Path:
        """Where the model is saved: what `diptych.load` and `--model` take."""
        return self.folder / MODEL

    @cached_property
    def model(self) -> Any:
        """The saved model: a DualEncoder, a CrossEncoder or a Generator; loaded when first asked for."""
        return self.load(self.model_folder)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": str(self.model_folder),
            "scores": dict(self.scores),
            "members": [{name: getattr(fit, name) for name in _MEMBER_FACTS} for fit in self.fits],
            "records": dict(self.records),
            "unmined": self.unmined,
            "before_after": [recalls.to_json() for recalls in self.before_after],
            "skipped": [skip.to_json() for skip in self.skipped],
            "notes": notes_json(self.notes),
        }


@dataclass(frozen=True)
class RunContext:
    """Where a run works, and what hears of its progress."""

    folder: Path
    device: str = "auto"
    cache: Path = field(default_factory=cache_folder)
    progress: Progress = SILENT
    notes: Notes = field(default_factory=Notes)

    @property
    def features(self) -> Path:
        """The folder of cached features."""
        return self.cache / "features"


@dataclass(frozen=True)
class Fitted:
    """The outcome of a training."""

    scores: Mapping[str, float]
    fits: tuple[Any, ...] = ()
    writes: bool = True  # whether this process saves the model: of several, the first


class Recipe(ABC, Generic[C]):
    """How one kind of model is trained. It is made before anything is read.

    Raises ConfigError or ModelError for a config that cannot be built.
    """

    training: CaptionedImages  # once they are collected
    validation: CaptionedImages
    sources: Sequence[MixedSource] = ()  # where there are several, by the numbers in `Text.source`

    def __init__(self, config: C, place: RunContext) -> None:
        self.config = config
        self.place = place

    @staticmethod
    @abstractmethod
    def load(folder: Path) -> Any:
        """The saved model."""

    @property
    @abstractmethod
    def towers(self) -> list[str]:
        """Fingerprints of the frozen towers."""

    @abstractmethod
    def collect(self, splits: Splits) -> tuple[CaptionedImages, CaptionedImages]:
        """The training and validation records with their features."""

    @abstractmethod
    def fit(self) -> Fitted:
        """Train on the collected records."""

    @abstractmethod
    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the model with the record of its run."""

    def starts(self) -> Mapping[str, DualEncoder]:
        """Models that the new one is compared with, by what they are called: the one it began from, its teacher."""
        return {}

    def measured(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Validation pairs with the texts that count."""
        return list(pairs)

    def forget(self) -> None:
        """Remove what an earlier run in the same folder left, but for its model."""

    @property
    def unmined(self) -> int:
        """Training records that the file of mined negatives does not name."""
        return 0

    def fingerprints(self) -> dict[str, str]:
        """Of the data: what a resumed run must agree on."""
        return {"train": self.training.fingerprint(), "val": self.validation.fingerprint()}

    def record(self, fitted: Fitted) -> dict[str, Any]:
        """What the saved model keeps of its run."""
        return {
            "config": self.config.without_paths(),
            "data": self.counts()
            | {f"{split}_fingerprint": value for split, value in self.fingerprints().items()}
            | ({"sources": described(self.sources, self.training, self.validation)} if self.sources else {}),
            "validation": dict(fitted.scores),
            "best_epochs": [fit.best_epoch for fit in fitted.fits],
            "precision": fitted.fits[0].precision if fitted.fits else "32-true",
        }

    def contents(self) -> tuple[Contents, Contents]:
        """What the training and the validation records hold, to be searched for repetitions."""
        return self.training.contents, self.validation.contents

    def counts(self) -> dict[str, int]:
        """Records of each split."""
        return {"train": self.training.records, "val": self.validation.records}


def _imported(name: str) -> Any:
    """The class that "module:Class" names within this package."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)


def read_config(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    kind: str = DEFAULT,
) -> TrainConfig:
    """A config of any kind: a TOML file, a mapping as TOML gives it, or one that is made already.

    The key `kind` says which kind it is; without it, it is read as `kind`. `overrides` are "section.key=value".
    Raises ConfigError for a key or value that this kind of config does not take.
    """
    if seed is not None:
        overrides = [*overrides, f"seed={seed}"]
    if isinstance(config, TrainConfig):
        if not overrides:
            return config
        config = configs.to_dict(config)
    fill: Callable[[type[TrainConfig]], TrainConfig]
    values, fill = configs.read(config, overrides)
    try:
        kind = str(values.get("kind", kind))
        if kind not in KINDS:
            raise configs.unknown("kind", kind, KINDS)
        made: type[TrainConfig] = _imported(KINDS[kind][0])
        return fill(made)
    except ConfigError as error:
        if "kind" in values or "unknown key" not in str(error):
            raise
        others = ", ".join(f'"{other}"' for other in KINDS if other != kind)
        raise ConfigError(f'{error}; it names no kind, so it was read as "{kind}" (others: {others})') from error


def train(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    source: AnySource | None = None,
    out: str | Path | None = None,
    *,
    sources: Sequence[str | Path | SourceSettings] = (),
    also: Sequence[str | Path] = (),
    seed: int | None = None,
    overrides: Sequence[str] = (),
    options: SourceOptions = ANY_SOURCE,
    device: str = "auto",
    cache: Path | None = None,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Train what a config describes, and save the model in `out/model`.

        run = diptych.train("configs/heads.toml", "pairs.csv")
        run.scores["t2i R@10"], run.model.encode_texts("a dog")

    A run that was interrupted continues from its last checkpoint, and ends with bit-identical weights.

    Args:
        config: a TOML file, a mapping with the same keys, or a config object; see configs/.
        source: a path that `diptych data check` reads, an opened source, a list of `Pair`s with their splits, or
            {"train": pairs, "val": pairs}. None: the config's data.source.
        out: the run's folder; None is runs/NAME.
        sources: further sources to learn from, beside the config's data.sources: paths, each with ":WEIGHT" behind it
            where it is to have that share of an epoch, or `SourceSettings`.
        also: paths of further sources to measure the model on, before and after, beside the config's data.also. Of
            each, its test split, or all records.
        seed: overrides the config's.
        overrides: of settings, as "section.key=value".
        options: how to read a source that is a path: columns, format, image folder.
        device: auto, cpu, cuda or cuda:N.
        cache: folder of cached features; None is the user's.
        fresh: forget an earlier run in the same folder.
        progress: told about features, epochs and warnings.

    Raises ConfigError, DataError or ModelError before anything is trained, DivergedError when a loss is no number.
    """
    settings = read_config(config, overrides, seed)
    if also or sources:
        data = settings.data
        data = dataclasses.replace(data, also=(*data.also, *map(str, also)))
        data = dataclasses.replace(data, sources=(*data.sources, *map(parse_source, sources)))
        settings = dataclasses.replace(settings, data=data)
    parts = parts_of(settings.data, source, options)
    folder = Path("runs") / settings.name if out is None else Path(of_type(out, PATH, "a folder as out"))
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; expected the folder of a run as out")
    place = RunContext(folder, device, cache or cache_folder(), progress)
    # what cannot be built is refused before anything is read
    made = ONE_STEP if getattr(settings, "fit", None) else KINDS[settings.kind][1]
    recipe: Recipe[Any] = _imported(made)(settings, place)
    splits = read_parts(settings.data, parts, need_texts=settings.need_texts)
    recipe.sources = [
        MixedSource(name, part.settings.weight)
        for name, part in zip(splits.sources, parts, strict=bool(splits.sources))
    ]
    further = [further_source(each) for each in settings.data.also]
    place.notes.extend(splits.notes)
    if fresh:
        recipe.forget()
    recipe.training, recipe.validation = recipe.collect(splits)
    note_shared_by_splits(place.notes, *recipe.contents())
    check_validation(recipe.sources, recipe.validation, settings.data.chosen_on, place.notes)
    fitted = recipe.fit()
    compared: tuple[Recalls, ...] = ()
    if fitted.writes:
        recipe.save(folder / MODEL, recipe.record(fitted))
        compared = _compared(recipe, splits, further, folder, progress)
    return Run(
        folder,
        settings.kind,
        fitted.scores,
        recipe.counts(),
        fitted.fits,
        (*splits.skipped, *recipe.training.skipped, *recipe.validation.skipped),
        tuple(place.notes),
        recipe.unmined,
        compared,
        load=recipe.load,
    )


def _compared(
    recipe: Recipe[Any], splits: Splits, further: Sequence[Source], folder: Path, progress: Progress
) -> tuple[Recalls, ...]:
    """Recall of the saved model beside those that it began from, where there is one or a further source."""
    starts = recipe.starts()
    if not starts and not further:
        return ()
    takes = recipe.config.data.selection().takes
    chosen = [dataclasses.replace(pair, texts=tuple(filter(takes, pair.texts))) for pair in recipe.measured(splits.val)]
    sources = list(further)
    if any(pair.images for pair in chosen) and any(pair.texts for pair in chosen):  # else there is no way across
        names = [source.name for source in recipe.sources]
        sources = [*validation_sources(chosen, recipe.config.data.val, names), *further]
    elif starts:
        progress.say("recall before and after is of images and texts; these validation records do not have both")
    if not sources:
        return ()
    models = {**starts, AFTER: recipe.load(folder / MODEL)}
    found = before_after(models, sources, folder, progress=progress)
    add_to_model(folder / MODEL, found)
    return found
