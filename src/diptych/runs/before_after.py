"""Recall before and after a training, on its validation records and on further sources: what was gained and forgotten.

It is measured once, when the training is done, and kept in the run's folder: the same command later measures only what
is new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core import fingerprint
from diptych.core.files import write_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Pair
from diptych.data.cache import image_key
from diptych.data.readers import Source
from diptych.data.readers import SourceOptions as Options
from diptych.data.seen import Chosen
from diptych.models import DualEncoder
from diptych.models import folder as files

from .measuring import open_untrained
from .reading import open_any
from .recalls import Recalls, joined, measure_recalls, named_apart

FILE = "before_after.json"
BEFORE, AFTER = "before", "after"
_TEST = "test"


def further_source(source: str | Path) -> Source:
    """A source beside the one that is trained on: its test split, or all records where it names none.

    Raises DataError for a source that cannot be read, or has no texts.
    """
    opened = open_any(source, Options())
    pairs = list(opened)
    test = [pair for pair in pairs if pair.split == _TEST]
    return Chosen(opened, test or pairs, _TEST if test else None)


def validation_sources(pairs: Sequence[Pair], split: str, names: Sequence[str] = ()) -> list[Source]:
    """The validation records of a run as a source; of several sources, given their names, one for each."""
    if not names:
        return [Chosen(Source(Path("validation"), "pairs", Options()), pairs, split)]
    found: list[Source] = []
    for number, name in enumerate(names):
        own = [replace(pair, texts=tuple(text for text in pair.texts if text.source == number)) for pair in pairs]
        chosen = [pair for pair in own if pair.images and pair.texts]
        if chosen:
            found.append(Chosen(Source(Path(f"validation, {name}"), "pairs", Options()), chosen, split))
    return found


def before_after(
    models: Mapping[str, DualEncoder], sources: Sequence[Source], folder: Path, *, progress: Progress = SILENT
) -> tuple[Recalls, ...]:
    """Recall of each model on each source, from the file of an earlier measurement as far as it goes.

    Args:
        models: what each is called ("before", "after", "teacher"), in the order of the rows.
        sources: records that are chosen already.
        folder: of the run, where the results are kept.
        progress: told about embedding.
    """
    kept = _read(folder / FILE)
    found: dict[str, Recalls] = {}
    for number, source in enumerate(sources):
        key = _key(models, list(source), str(number))
        if key in kept:
            found[key] = Recalls.from_json(kept[key])
            continue
        progress.say(f"measuring {', '.join(models)} on {source.name}")
        opened = open_untrained(models.values(), source, options=source.options, progress=progress)
        found[key] = joined(
            {label: measure_recalls(model, opened, progress=progress) for label, model in models.items()}
        )
        write_json(folder / FILE, {each: recalls.to_json() for each, recalls in found.items()})
    return tuple(named_apart(list(found.values())))


def add_to_model(folder: Path, found: Sequence[Recalls]) -> None:
    """Write the figures into a saved model's record and card; its fingerprint stays."""
    files.add_record(folder, {"before_after": [recalls.to_json() for recalls in found]}, section(found))


def section(found: Sequence[Recalls]) -> str:
    """A part of a model card: a table for each source."""
    tables = [f"{recalls.source}, {recalls.records:,} records:\n\n{recalls.table()}" for recalls in found]
    return "## Before and after\n\n" + "\n\n".join(tables) + "\n"


def lines(found: Sequence[Recalls]) -> list[str]:
    """The same for a terminal: a line for each model on each source."""
    told = []
    for recalls in found:
        told.append(f"{recalls.source} ({recalls.records:,} records), R@1 / R@5 / R@10 and rsum:")
        for label, row in recalls.rows.items():
            ways = [" / ".join(f"{row[f'{way} R@{cut}']:.1f}" for cut in (1, 5, 10)) for way in ("i2t", "t2i")]
            told.append(f"  {label:8} image → text {ways[0]}, text → image {ways[1]}, rsum {row['rsum']:.1f}")
    return told


def _key(models: Mapping[str, DualEncoder], pairs: Sequence[Pair], number: str) -> str:
    words = [word for pair in pairs for word in (pair.id, pair.group or "", *(text.value for text in pair.texts))]
    images = fingerprint.of_bytes(*(image_key(ref) or b"" for pair in pairs for ref in pair.images))
    named = [word for label, model in models.items() for word in (label, model.fingerprint)]
    return fingerprint.combined([number, *named, fingerprint.combined(words), images])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
