"""Classification compared: models by words alone, and adapters that learn from a few images of each class."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych import evaluation
from diptych.core.checks import PATH, several
from diptych.core.config import unknown
from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Int64
from diptych.core.text import number
from diptych.core.types import Pair
from diptych.data.labels import LabelInput
from diptych.data.readers import Source, SourceOptions, normalise_split
from diptych.data.seen import Chosen
from diptych.data.splits import divide
from diptych.data.templates import DEFAULT
from diptych.evaluation.bootstrap import Number
from diptych.evaluation.classification import DIRECTION, accuracy_numbers, check_labels, class_ranks
from diptych.evaluation.compare import Comparison, compare_reports
from diptych.evaluation.few_shot import ADAPTERS, ALL, LabelledFeatures, draw_shots
from diptych.inspection.classes import LabelledImages, embed_labelled, labels_of_classes, with_labels
from diptych.inspection.zero_shot import LabelScorer
from diptych.models import DualEncoder

from .classifying import as_labels, label_scorer
from .measuring import as_encoder, distinct, named, open_untrained
from .reading import ANY_SOURCE, AnySource, open_any

ZERO_SHOT = "zero-shot"
_HALF = 0.5  # of a source without splits: what is learnt from, and what is measured
_SCALE = 100.0  # of the zero-shot logits of a model without a temperature: CLIP's largest
FEW, SKIPPED = "few_shots", "unreadable"  # kinds of notes


@dataclass(frozen=True)
class FewShots:
    """What adapters learn from: so many images of each class (0: all), drawn once for each seed."""

    shots: tuple[int, ...] = ()
    adapters: tuple[str, ...] = tuple(ADAPTERS)
    seeds: int = 3
    train_split: str = "train"

    def __post_init__(self) -> None:
        if any(shots < ALL for shots in self.shots) or self.seeds < 1:
            raise ConfigError(f"shots must be 0 (all) or more and seeds 1 or more, found {self.shots}, {self.seeds}")
        for name in self.adapters:
            if name not in ADAPTERS:
                raise unknown("adapter", name, ADAPTERS)


@dataclass(frozen=True)
class _Row:
    """One row of the table: the ranks of the measured images' classes, an array for each seed."""

    model: str
    method: str
    shots: int
    draws: list[Int64[np.ndarray, " n"]]

    @property
    def name(self) -> str:
        shots = "all images" if self.shots == ALL else number(self.shots, "shot")
        return f"{self.model} {self.method}" + (f", {shots}" if self.method != ZERO_SHOT else "")

    def numbers(self, found: LabelledImages, labels: int, seeds: int) -> dict[str, Number]:
        """The accuracies; a row without seeds of its own has the same ranks in each."""
        draws = self.draws if len(self.draws) == seeds else self.draws * seeds
        numbers = accuracy_numbers(draws, found.classes, found.records, labels)
        return {f"{DIRECTION} {name}": number for name, number in numbers.items()}


def compare_zero_shot(
    models: Sequence[DualEncoder | str | Path],
    source: AnySource,
    labels: LabelInput | str | Path | None = None,
    *,
    templates: str | Path | Sequence[str] = DEFAULT,
    few_shots: FewShots = FewShots(),
    split: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    baseline: str = "first",
    resamples: int = 2000,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Comparison:
    """Classification by words with several models, and with adapters of each, in one table with paired tests.

        print(diptych.runs.compare_zero_shot(["base"], "classes/", few_shots=FewShots((1, 4, 16))))

    Args:
        models: models, their names, folders or addresses; "NAME=MODEL" gives one a name of its own.
        source: records with a class (`Pair.group`).
        labels: as of `classify`, called like the classes; by default the classes themselves.
        templates: as of `classify`.
        few_shots: what the adapters learn from; without shots the models are compared by words alone.
        split: that is measured: by default "val" beside shots, where the source has it, else half of its records.
            Without shots, the records that no training of the models saw.
        options: how to read a source that is a path.
        baseline: "first", "best", or the name of a row.
        resamples: of the bootstrap.
        seed: of the bootstrap, and the first of the draws.
        device: where models that are given by name or folder run.
        progress: told about embedding and adapters.

    Accuracies are means over the seeds, with their standard deviation beside; the bootstrap is over measured records.
    Raises ConfigError for fewer than two rows, DataError where there is nothing to learn from or to measure.
    """
    given = several(models, (DualEncoder, *PATH), "models to compare")
    if len(given) < 2 and not (few_shots.shots and few_shots.adapters):
        raise ConfigError(f"found {len(given)} model and no shots; expected two or more models, or shots to learn from")
    encoders = [(name, as_encoder(each, device)) for name, each in map(named, given)]
    seeds = few_shots.seeds if few_shots.shots else 1
    parts = _parts([encoder for _, encoder in encoders], source, few_shots, split, options, progress)
    measured, notes = parts.measured, parts.measured.notes
    chosen = labels_of_classes(measured, parts.train) if labels is None else as_labels(labels, notes, options.encoding)
    pairs = with_labels(measured, list(measured), chosen)
    learnt = with_labels(parts.train, list(parts.train), chosen) if parts.train is not None else []
    rows: list[_Row] = []
    names = distinct([name or encoder.name for name, encoder in encoders])
    for name, (_, encoder) in zip(names, encoders, strict=True):
        scorer = label_scorer(encoder, chosen, templates, encoding=options.encoding, notes=notes, progress=progress)
        found = embed_labelled(encoder, pairs, progress=progress)
        check_labels(found.classes, len(chosen))
        rows.append(_Row(name, ZERO_SHOT, 0, [class_ranks(scorer.cosines(found.vectors), found.classes)]))
        if learnt:
            train = embed_labelled(encoder, learnt, progress=progress)
            rows += _adapted(name, scorer, found, train, few_shots, seed, notes, progress)
    if skipped := [*measured.skipped, *found.skipped]:
        notes.add(SKIPPED, "images left out as unreadable", *(one.name for one in skipped), count=len(skipped))
    task = _task(measured, found, rows, len(chosen))
    units = int(found.records.max()) + 1
    reports = [evaluation.SavedReport(row.name, task, row.numbers(found, len(chosen), seeds), units) for row in rows]
    compared = compare_reports(reports, baseline=baseline, resamples=resamples, seed=seed)
    return dataclasses.replace(compared, notes=tuple(notes))


def _adapted(
    model: str,
    scorer: LabelScorer,
    measured: LabelledImages,
    train: LabelledImages,
    few_shots: FewShots,
    seed: int,
    notes: Notes,
    progress: Progress,
) -> list[_Row]:
    """The rows of a model's adapters: each learns from the first images of drawn training records."""
    first = np.unique(train.records, return_index=True)[1]
    pool, shown = _features(scorer, train).at(first), _features(scorer, measured)
    rows = []
    wanted = [(shots, name) for shots in few_shots.shots for name in few_shots.adapters]
    for shots, name in progress.track(wanted, "adapters"):
        draws = []
        for each in range(seed, seed + few_shots.seeds):
            drawn = draw_shots(pool.labels, shots, each)
            adapter = ADAPTERS[name](pool.at(drawn.learnt), pool.at(drawn.held), each)
            draws.append(class_ranks(adapter(shown.features, shown.zero_shot), shown.labels))
        few = f"classes with fewer training images than {number(shots, 'shot')} beside those held out"
        if drawn.short and few not in {note.detail for note in notes}:  # the same for every model and adapter
            notes.add(FEW, few, count=drawn.short)
        rows.append(_Row(model, name, shots, draws))
    return rows


def _features(scorer: LabelScorer, images: LabelledImages) -> LabelledFeatures:
    scale = scorer.model.cosine_scale or _SCALE
    return LabelledFeatures(images.vectors, scale * scorer.cosines(images.vectors).astype(np.float64), images.classes)


@dataclass(frozen=True)
class _Parts:
    """What is measured, and what is learnt from."""

    measured: Source
    train: Source | None = None


def _parts(
    encoders: Sequence[DualEncoder],
    source: AnySource,
    few_shots: FewShots,
    split: str | None,
    options: SourceOptions,
    progress: Progress,
) -> _Parts:
    if not few_shots.shots:
        return _Parts(open_untrained(encoders, source, split=split, options=options, progress=progress))
    opened = open_any(source, dataclasses.replace(options, split=None))
    pairs, name = list(opened), normalise_split(split or options.split) or "val"
    learnt = normalise_split(few_shots.train_split) or "train"
    if learnt == name:
        raise ConfigError(
            f"shots are learnt from the split {learnt!r}, so it cannot be measured as well; give another --split or "
            "--train-split"
        )
    try:
        divided = divide(pairs, learnt, name, _HALF)
    except DataError as error:
        raise DataError(
            f"shots need training records beside those that are measured; found the splits {_listed(pairs)}, expected "
            f"{few_shots.train_split!r} and {name!r}; name them by --train-split and --split",
            error.reason,
        ) from error
    is_named = any(pair.split == name for pair in pairs)
    measured = Chosen(opened, divided["val"], name if is_named else "half")
    return _Parts(open_untrained(encoders, measured, progress=progress), Chosen(opened, divided["train"], None))


def _listed(pairs: Sequence[Pair]) -> str:
    counts = Counter(pair.split or "none" for pair in pairs)
    return ", ".join(f"{split} ({count:,} records)" for split, count in counts.items())


def _task(measured: Source, found: LabelledImages, rows: Sequence[_Row], labels: int) -> dict[str, Any]:
    return {
        "source": measured.name,
        "split": measured.options.split,
        "protocol": {"name": f"zero-shot among {labels} labels", "relevance": "class"},
        "modality": "zero-shot",
        "images": len(found.classes),
        "content": found.content,
        "rows": [{"name": row.name, "model": row.model, "method": row.method, "shots": row.shots} for row in rows],
    }
