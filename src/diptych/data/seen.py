"""Which records a model was trained on, and which its run held out: kept in the model's folder as numbers.

A record's marks are hashes of the content of each of its images, and of its id and texts together. So it is
found again after the source was moved, renamed, written in another format, or has grown. Hashes of each text by itself
find records that may be the same ones with other ids and scaled images; these are only noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError, ModelError
from diptych.core.files import fsync_file
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, UInt64
from diptych.core.types import Pair, Text
from diptych.data.cache import ReadOnce, image_key
from diptych.data.readers.options import normalise_split
from diptych.data.readers.source import Source
from diptych.data.splits import HELD_OUT

FILE = "records.safetensors"
MEASURED, TRAINED, UNKNOWN = "held_out", "trained_on", "unknown_training"  # kinds of notes
TEXTS_TRAINED = "texts_trained_on"  # another one


def image_mark(key: bytes) -> int:
    """The mark of an image, from the key of its content in the feature cache."""
    return int.from_bytes(key[:8], "little")


def text_mark(label: str, texts: Iterable[Text]) -> int:
    """The mark of a record's id and texts together: equal texts alone may belong to many records."""
    return fingerprint.short(label, *(text.value for text in texts))


def value_marks(texts: Iterable[Text]) -> list[int]:
    """Marks of each text by itself, ignoring case and spaces. A match does not prove that the record is the same."""
    return [fingerprint.short("text", " ".join(text.value.casefold().split())) for text in texts]


def marks_of(pair: Pair) -> list[int]:
    """The marks that a record is known by. An image that cannot be read has none."""
    texts = [text_mark(pair.id, pair.texts)] if pair.texts else []
    return texts + [image_mark(key) for key in map(image_key, pair.images) if key is not None]


def as_marks(values: Iterable[int]) -> UInt64[np.ndarray, " n"]:
    """Marks in ascending order, each once."""
    return np.unique(np.fromiter(values, dtype=np.uint64))


@dataclass(frozen=True)
class Seen:
    """Marks of the records that a model was trained on, and of those that its run held out."""

    trained: UInt64[np.ndarray, " n"]
    held_out: UInt64[np.ndarray, " m"]

    def after(self, *earlier: Seen | None) -> Seen:
        """For a model that continued from others or was distilled from them: their training records are its own too."""
        trained = [self.trained, *(each.trained for each in earlier if each)]
        return replace(self, trained=np.unique(np.concatenate(trained)))

    def write(self, folder: Path) -> None:
        """Keep it in a model's folder. It is no part of the model: the fingerprint does not change with it."""
        from safetensors.numpy import save_file

        save_file({"trained": self.trained, "held_out": self.held_out}, folder / FILE)
        (folder / FILE).chmod(0o644)
        fsync_file(folder / FILE)


def read_seen(folder: Path) -> Seen | None:
    """What a model's folder keeps; None for a model that keeps no such list.

    Raises ModelError when the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / FILE).exists():
        return None
    try:
        found = load_file(folder / FILE)
        return Seen(found["trained"].astype(np.uint64), found["held_out"].astype(np.uint64))
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{folder / FILE} is damaged ({error}); copy the whole folder again") from error


@dataclass(frozen=True)
class Learner:
    """A model, and the records that it was trained on."""

    name: str
    seen: Seen | None  # None: it keeps no list
    split: str = ""  # the split that it was trained on by its record, where it keeps none


class Chosen(Source):
    """Some of a source's records, read already, with all that was noted."""

    def __init__(self, source: Source, pairs: Sequence[Pair], split: str | None) -> None:
        super().__init__(source.path, source.format, replace(source.options, split=split))
        self.pairs = list(pairs)
        self.skipped, self.notes, self.columns = source.skipped, source.notes, source.columns

    def __iter__(self) -> Iterator[Pair]:
        """The records."""
        return iter(self.pairs)


def untrained(source: Source, learners: Sequence[Learner], *, progress: Progress = SILENT) -> Chosen:
    """The records to measure these models on.

    Without a named split (or with the split "held-out"): those that the models' runs held out, if there are any, and
    none that one of the models was trained on. With a named split, or where no run held out any: all of them. A note
    says what was left out, and how many of the records one of the models was trained on. Records that are chosen
    already stay all.

    Raises DataError where "held-out" was asked for and there is nothing that was.
    """
    options = source.options
    asked = normalise_split(options.split) == HELD_OUT and not isinstance(source, Chosen)
    listed = [learner for learner in learners if learner.seen is not None]
    if asked and listed:
        source = Source(source.path, source.format, replace(options, split=None))
    pairs = list(source)
    if not listed:
        _note_unknown(source, pairs, learners)
        return Chosen(source, pairs, options.split)
    once = ReadOnce()  # the evaluation reads the same images again
    tracked = progress.track(pairs, "looking for trained records", total=len(pairs))
    pairs = [replace(pair, images=tuple(map(once, pair.images))) for pair in tracked]
    marks = [marks_of(pair) for pair in pairs]
    trained, held = (
        np.any([_have(marks, getattr(learner.seen, what)) for learner in listed], axis=0)
        for what in ("trained", "held_out")
    )
    gallery = np.array([pair.is_gallery for pair in pairs])
    held &= ~trained & ~gallery
    trained &= ~gallery
    records = len(pairs) - int(gallery.sum())
    names = ", ".join(dict.fromkeys(learner.name for learner in listed))
    if (options.split is None or asked) and held.any():
        kept = [pair for pair, is_kept in zip(pairs, held | gallery, strict=True) if is_kept]
        detail = f"measured on the records that training held out ({names})"
        source.notes.add(MEASURED, detail, count=int(held.sum()))
        for kind, what, left in (
            (TRAINED, "left out, because the model was trained on them", trained),
            ("others", "left out, because training neither saw them nor held them out", ~trained & ~held & ~gallery),
        ):
            if left.any():
                source.notes.add(kind, f"records {what}; name a --split to include them", count=int(left.sum()))
        _note_unknown(source, kept, learners)
        return Chosen(source, kept, HELD_OUT)
    if asked:
        if trained.any():
            saw = f"saw {int(trained.sum()):,} of its {records:,}; name another source or --split"
            raise DataError(f"training held out no record of {source.name} ({names}), and {saw}")
        pairs = list(Source(source.path, source.format, replace(options, split=HELD_OUT)))
        _note_texts(source, pairs, listed, names)
        return Chosen(source, pairs, HELD_OUT)
    _note_texts(source, [pair for pair, known in zip(pairs, trained | held, strict=True) if not known], listed, names)
    _note_unknown(source, pairs, learners)
    if trained.any():
        detail = f"measured records that {names} was trained on, and so finds better than others (of {records:,})"
        source.notes.add(TRAINED, detail, count=int(trained.sum()))
    return Chosen(source, pairs, options.split)


def _note_texts(source: Source, others: Sequence[Pair], learners: Sequence[Learner], names: str) -> None:
    """Note which of these records, whose images no model was trained on, have a text that one was trained on."""
    known = np.concatenate([learner.seen.trained for learner in learners if learner.seen is not None])
    others = [pair for pair in others if pair.images]  # documents of other queries are no leak
    if count := int(_have([value_marks(pair.texts) for pair in others], known).sum()):
        detail = f"records with a text that {names} was trained on beside another image, or the same one scaled"
        source.notes.add(TEXTS_TRAINED, f"{detail}: if it was the same one, results will be too good", count=count)


def _note_unknown(source: Source, measured: Sequence[Pair], learners: Sequence[Learner]) -> None:
    """Note records that a model without a list may have been trained on, by the name of their split."""
    for learner in learners:
        count = sum(pair.split == learner.split for pair in measured) if learner.seen is None and learner.split else 0
        if count:
            unlisted = f"{learner.name} keeps no list of what it was trained on: it may have been these"
            source.notes.add(UNKNOWN, f"records of the split {learner.split!r}, and {unlisted}", count=count)


def trained_among(source: Source, pairs: Sequence[Pair], learner: Learner, what: str) -> None:
    """Note how many of these records a model was trained on, which makes `what` of it."""
    if learner.seen is None:
        return
    count = int(_have([marks_of(pair) for pair in pairs], learner.seen.trained).sum())
    if count:
        detail = f"of {len(pairs):,} records, those that {learner.name} was trained on: {what}"
        source.notes.add(TRAINED, detail, count=count)


def _have(marks: Sequence[Sequence[int]], known: UInt64[np.ndarray, " n"]) -> Bool[np.ndarray, " r"]:
    """For each record, whether one of its marks is known."""
    owner = np.repeat(np.arange(len(marks)), [len(each) for each in marks])
    flat = np.fromiter((mark for each in marks for mark in each), dtype=np.uint64)
    found = np.zeros(len(marks), dtype=np.bool_)
    found[owner[np.isin(flat, known)]] = True
    return found


def learner_of(name: str, folder: Path, record: Mapping[str, object]) -> Learner:
    """A model by its folder and the training record of its config."""
    seen = read_seen(folder)
    config = record.get("config")
    data = config.get("data") if isinstance(config, Mapping) else None
    split = data.get("train") if isinstance(data, Mapping) else None
    return Learner(name, seen, split if isinstance(split, str) else "")
