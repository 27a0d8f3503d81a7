"""The training and validation pairs of a source, and what of it is not learnt from: each named and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diptych.core.checks import several
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.notes import Notes
from diptych.core.protocols import Preprocess
from diptych.core.types import Pair, Skipped, Text
from diptych.data.images import as_ref, is_video
from diptych.data.readers import Source, SourceOptions, open_source
from diptych.data.seen import Chosen
from diptych.data.splits import divide

from .config import DataConfig

ANY_SOURCE = SourceOptions()
OTHER_SPLIT, OTHER_TEXT, NO_CLASS, ONE_FRAME = "other_split", "other_text", "no_class", "one_frame"  # kinds of notes

# a path, an opened source, pairs with their splits, or pairs by split ("train" and "val")
AnySource = str | Path | Source | Sequence[Pair] | Mapping[str, Sequence[Pair]]


@dataclass(frozen=True)
class Splits:
    """The pairs to train on and to validate with, and how their source was read."""

    train: list[Pair]
    val: list[Pair]
    notes: Notes = field(default_factory=Notes)
    skipped: tuple[Skipped, ...] = ()
    others: list[Pair] = field(default_factory=list)  # of other splits, where the source has any
    sources: Sequence[str] = ()  # what the sources are called, where there are several; `Text.source` counts them


def videos_note(pairs: Sequence[Pair], preprocess: Preprocess) -> Notes:
    """A note on videos of which an image tower with this preprocessing reads a single frame."""
    notes = Notes()
    if preprocess.frames == 1:
        for pair in pairs:
            for video in filter(is_video, pair.images):
                notes.add(
                    ONE_FRAME,
                    "videos read as the frame in their middle (the tower frames:NAME reads several)",
                    video.name,
                )
    return notes


def open_any(source: AnySource, options: SourceOptions = ANY_SOURCE) -> Source:
    """A source as it is, the one at a path, or a list of pairs as one: those of the split that the options name."""
    if isinstance(source, Source):
        return source
    if isinstance(source, str | Path):
        return open_source(source, options)
    by_split = [checked_pairs(pairs) for pairs in (source.values() if isinstance(source, Mapping) else [source])]
    pairs = [pair for pairs in by_split for pair in pairs if options.split in (None, pair.split) or pair.is_gallery]
    return Chosen(Source(Path("pairs"), "pairs", options), pairs, options.split)


def checked_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs that a caller made: paths and bytes become image references, and words become `Text`s.

    Raises ConfigError for what is no `Pair`, DataError for what is no image.
    """
    made = []
    for pair in several(pairs, Pair, "the path of a source, a Source, or a list of Pairs"):
        images = pair.images if isinstance(pair.images, list | tuple) else (pair.images,)
        texts = several(pair.texts, str | Text, "texts of a Pair, each a str or a Text")
        words = tuple(Text(each) if isinstance(each, str) else each for each in texts)
        made.append(replace(pair, images=tuple(as_ref(each) for each in images), texts=words))
    return made


def read_splits(
    data: DataConfig, source: AnySource, options: SourceOptions = ANY_SOURCE, *, need_texts: bool = True
) -> Splits:
    """Training and validation pairs of a source.

    Raises DataError where there is no text, unless none is needed, or a split has no pairs; it says where the splits'
    names come from.
    """
    if isinstance(source, Mapping):
        if not {"train", "val"} <= set(source):
            found = ", ".join(map(str, source)) or "none"
            raise ConfigError(f"found pairs of the splits {found}; expected train and val")
        splits = Splits(checked_pairs(source["train"]), checked_pairs(source["val"]))
        for name, pairs in (("train", splits.train), ("val", splits.val)):
            if need_texts and not any(pair.texts for pair in pairs):
                raise DataError(f"the {len(pairs)} pairs of {name} have no text", Reason.EMPTY_TEXT)
        return splits
    opened = open_any(source, options)
    pairs = list(opened)
    notes = opened.notes
    if need_texts and not any(pair.texts for pair in pairs):
        raise DataError(opened.no_texts(), Reason.EMPTY_TEXT)
    try:
        chosen = divide(pairs, data.train, data.val, data.val_share)
    except DataError as error:
        guessed = "".join(f"; {note.to_text()}" for note in notes if note.kind == "split")
        raise DataError(f"{error}{guessed}", error.reason) from error
    note_other_splits(notes, pairs, chosen)
    note_other_texts(notes, [pair for some in chosen.values() for pair in some], data)
    used = {id(pair) for some in chosen.values() for pair in some}
    others = [pair for pair in pairs if id(pair) not in used]
    return Splits(chosen["train"], chosen["val"], notes, tuple(opened.skipped), others)


def require_classes(splits: Splits) -> None:
    """Raise DataError unless there are two classes to learn from, and one with two records to validate with.

    Records without a class are noted.
    """
    for name, pairs in (("training", splits.train), ("validation", splits.val)):
        counts = Counter(pair.group for pair in pairs)
        without = counts.pop(None, 0)
        if len(counts) < 2 or counts.most_common(1)[0][1] < 2:
            raise DataError(
                f"found {len(counts)} classes among the {len(pairs)} {name} records; pairs of one class need at least "
                "2 classes, and a class with 2 records: name the column of the classes with --group-column, or set "
                'pairs.by = "record"'
            )
        if without:
            splits.notes.add(NO_CLASS, f"{name} records without a class, each in a class of its own", count=without)


def note_other_splits(notes: Notes, pairs: Sequence[Pair], chosen: Mapping[str, Sequence[Pair]]) -> None:
    """Note records that are neither trained on nor validated with. Documents of the gallery are of every split."""
    left = Counter(pair.split for pair in pairs if not pair.is_gallery)
    left.subtract(pair.split for some in chosen.values() for pair in some if not pair.is_gallery)
    for split, count in left.items():
        if count:
            of = f"of the split {split!r}" if split else "without a split, beside others that have one"
            notes.add(OTHER_SPLIT, f"records {of}, neither trained on nor validated with", count=count)


def note_other_texts(notes: Notes, pairs: Sequence[Pair], data: DataConfig) -> None:
    """Note texts in other languages, or of other parts, than the config asks for."""
    texts = [text for pair in pairs for text in pair.texts]
    selection = data.selection()
    left = [text.value for text in texts if not selection.takes(text)]
    if left:
        asked = [f"{name} {', '.join(few)}" for name, few in (("langs", data.langs), ("fields", data.fields)) if few]
        why = f"other than data.{' and data.'.join(asked)}" if asked else "empty"
        notes.add(OTHER_TEXT, f"texts not learnt from ({why})", *left[:3], count=len(left))


def left_out(skipped: Sequence[Skipped]) -> str:
    """`2 inputs were left out: not_an_image 1 (bad.png), empty_text 1 (7)`; nothing for none."""
    if not skipped:
        return ""
    reasons: dict[str, list[str]] = {}
    for skip in skipped:
        reasons.setdefault(skip.reason.value, []).append(skip.name)
    said = [
        f"{reason} {len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for reason, names in reasons.items()
    ]
    return f"{len(skipped):,} inputs were left out: {', '.join(said)}"
