"""Several sources read as one: records of one image joined, no record of one source held out by another learnt from."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Note, Notes
from diptych.core.types import ImageRef, Pair, Skipped, Text
from diptych.data.readers import SourceOptions, next_meaning, shifted
from diptych.data.repeats import connected
from diptych.data.splits import same_images
from diptych.training.batch_order import check_weights

from .config import DataConfig
from .reading import AnySource, Splits, read_splits
from .source_settings import SourceSettings, check_chosen, labels_of

Values = Mapping[ImageRef, Hashable]  # equal for images of equal bytes
JOINED, HELD_ELSEWHERE, SAME_TEXT = "joined_sources", "held_out_elsewhere", "text_of_several_sources"  # kinds of notes


@dataclass(frozen=True)
class Part:
    """One of several sources: what to read, and its settings."""

    source: AnySource
    settings: SourceSettings


def parts_of(data: DataConfig, source: AnySource | None, options: SourceOptions) -> list[Part]:
    """All sources of a training: the one that is given, else the config's, then those of `data.sources`.

    Raises ConfigError for none, one without a path, weights that do not add up, or an unknown `chosen_on`.
    """
    if source is None or (isinstance(source, str) and not source):
        source = data.source
    parts = []
    if not isinstance(source, str) or source:
        name = source if isinstance(source, str) else getattr(source, "name", "pairs")
        stated = {each.name: getattr(options, each.name) for each in dataclasses.fields(SourceOptions)}
        parts = [Part(source, SourceSettings(**stated, path=str(name)))]
    for settings in data.sources:
        if not settings.path:
            raise ConfigError("a source of data.sources has no path; name a file or folder as its path")
        parts.append(Part(settings.path, settings))
    if not parts:
        raise ConfigError("no source to train on; give one, or set data.source in the config")
    if len(parts) == 1 and (parts[0].settings.weight or data.chosen_on):
        which = "weight" if parts[0].settings.weight else "data.chosen_on"
        raise ConfigError(f"{which} has no effect on a single source; leave it out, or add another source (--with)")
    if len(parts) > 1:
        check_weights([part.settings.weight for part in parts])
        check_chosen(data.chosen_on, labels_of([part.settings for part in parts]))
        if data.mined:
            raise ConfigError("data.mined names the records of one source; leave it out where there are several")
    return parts


def read_parts(data: DataConfig, parts: Sequence[Part], *, need_texts: bool = True) -> Splits:
    """The training and validation pairs of all sources.

    Raises DataError as `read_splits` for any of them.
    """
    if len(parts) == 1:
        return _read(data, parts[0], need_texts)
    names = labels_of([part.settings for part in parts])
    read = []
    for name, part in zip(names, parts, strict=True):
        try:
            read.append(_read(data, part, need_texts))
        except DataError as error:
            raise DataError(f"{name}: {error}", error.reason) from error
    notes, skipped = Notes(), list[Skipped]()
    for name, splits in zip(names, read, strict=True):
        notes.extend(Note(each.kind, each.count, f"{name}: {each.detail}", each.examples, each.parts)
                     for each in splits.notes)  # fmt: skip
        skipped += splits.skipped
    learnt, held, others = (
        [pair for number, splits in enumerate(read) for pair in _tagged(getattr(splits, name), number)]
        for name in ("train", "val", "others")
    )
    refs = [ref for pair in [*learnt, *held, *others] for ref in pair.images]
    values = dict(zip(refs, same_images(refs), strict=True))
    learnt = _without_held_out(learnt, [*held, *others], values, notes, names)
    train, val = (_joined(pairs, values, notes, split) for pairs, split in ((learnt, "training"), (held, "validation")))
    return Splits(train, val, notes, tuple(skipped), sources=names)


def _read(data: DataConfig, part: Part, need_texts: bool) -> Splits:
    own = part.settings
    changes = {
        name: value for name in ("train", "val", "val_share", "langs", "fields") if (value := getattr(own, name))
    }
    data = dataclasses.replace(data, **changes)
    splits = read_splits(data, part.source, own.options, need_texts=need_texts)
    if not (own.langs or own.fields):
        return splits
    takes = data.selection().takes
    train, val = (
        [dataclasses.replace(pair, texts=tuple(filter(takes, pair.texts))) for pair in pairs]
        for pairs in (splits.train, splits.val)
    )
    return dataclasses.replace(splits, train=train, val=val)


def _tagged(pairs: Iterable[Pair], number: int) -> list[Pair]:
    """Pairs whose texts say which source they are of, with keys that no other source has."""
    return [
        dataclasses.replace(
            pair,
            key=f"{number + 1}:{pair.key or f'{pair.id}#{place}'}",
            texts=tuple(dataclasses.replace(text, source=number) for text in pair.texts),
        )
        for place, pair in enumerate(pairs)
    ]


def _source_of(pair: Pair) -> int:
    return int(pair.key.partition(":")[0]) - 1


def _without_held_out(
    learnt: Sequence[Pair], held: Sequence[Pair], values: Values, notes: Notes, names: Sequence[str]
) -> list[Pair]:
    """Training records but for those with an image that another source has in another split: they are noted."""
    elsewhere: dict[Hashable, set[int]] = defaultdict(set)
    for pair in held:
        for ref in pair.images:
            elsewhere[values[ref]].add(_source_of(pair))
    kept = []
    for pair in learnt:
        own = _source_of(pair)
        if any(elsewhere.get(values[ref], {own}) - {own} for ref in pair.images):
            detail = f"{names[own]}: training records left out, because another source holds their image out"
            notes.add(HELD_ELSEWHERE, detail, pair.id)
        else:
            kept.append(pair)
    return kept


def _joined(pairs: Sequence[Pair], values: Values, notes: Notes, split: str) -> list[Pair]:
    """The pairs, those of several sources that have an image in common made one record, which is noted."""
    owners: dict[Hashable, list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        for ref in pair.images:
            owners[values[ref]].append(number)
    links = [
        (found[0], other)
        for found in owners.values()
        if len({_source_of(pairs[one]) for one in found}) > 1
        for other in found[1:]
    ]
    together: dict[int, list[Pair]] = defaultdict(list)
    for number, first in enumerate(connected(len(pairs), links)):
        together[first].append(pairs[number])
    several = [found for found in together.values() if len(found) > 1]
    if several:
        count = sum(map(len, several))
        detail = f"{split} records of several sources with the same image, joined: into {len(several):,} records"
        notes.add(JOINED, detail, *(found[0].id for found in several), count=count)
    made = [found[0] if len(found) == 1 else _one_record(found, values) for found in together.values()]
    if repeated := [value for pair in made for value in _of_several(pair.texts)]:
        detail = f"{split} texts that a record has from more than one source, each of them kept"
        notes.add(SAME_TEXT, detail, *repeated, count=len(repeated))
    return made


def _one_record(pairs: Sequence[Pair], values: Values) -> Pair:
    """One record with all images and texts; else it is what the first says."""
    first, texts = pairs[0], pairs[0].texts
    for pair in pairs[1:]:
        texts += shifted(pair.texts, by=next_meaning(texts))
    images: dict[Hashable, ImageRef] = {}
    for ref in (ref for pair in pairs for ref in pair.images):
        images.setdefault(values[ref], ref)
    meta = {key: value for pair in reversed(pairs) for key, value in pair.meta.items()}
    group = next((pair.group for pair in pairs if pair.group is not None), None)
    return dataclasses.replace(first, images=tuple(images.values()), texts=texts, group=group, meta=meta)


def _of_several(texts: Sequence[Text]) -> list[str]:
    """Texts that an earlier source of the record says too."""
    first: dict[tuple[str, str | None], int] = {}
    return [text.value for text in texts if first.setdefault((text.value, text.lang), text.source) != text.source]
