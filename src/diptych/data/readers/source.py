"""A source of pairs, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from diptych.core import fingerprint
from diptych.core.checks import PATH, of_type
from diptych.core.errors import DataError, Reason
from diptych.core.notes import Notes
from diptych.core.registry import find
from diptych.core.text import is_unicode, plain
from diptych.core.types import BytesImage, ImageRef, Origin, Pair, Skipped, TarImage, Text, numbered_label
from diptych.data.splits import HELD_OUT, SHARE, divide
from diptych.data.text_parts import join_parts, parse_parts

from .detect import detect
from .joining import Joined, joined
from .options import SourceOptions, normalise_split
from .reading import Reading

DEFAULTS = SourceOptions()
JOINED, CONFLICT, REPEATED_ID = "joined_rows", "conflict", "repeated_id"  # kinds of notes


class Source:
    """Pairs of one file, folder or data set, in an order that does not change; rows of one image are one pair.

    Each pair gets its `key`. `skipped` (what was left out, and why) and `notes` (what was joined, guessed or passed
    over, counted) are filled while iterating, and start anew with each iteration; so are `columns`, those of tables.
    """

    def __init__(self, path: Path, format: str, options: SourceOptions) -> None:
        self.path = path
        self.name = path.resolve().name if path.exists() else path.as_posix()
        self.format = format
        self.options = options
        self.skipped: list[Skipped] = []
        self.notes = Notes()
        self.columns: dict[str, None] = {}

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs of the wanted split. Raises DataError when there is none at all.

        A text part that no record has is a DataError too, once everything is read.
        """
        self.skipped, self.notes, self.columns = [], Notes(), {}
        return self._chosen(Reading(self.path, self.options, self.skipped, self.notes, self.columns))

    def __repr__(self) -> str:
        return f"Source({str(self.path)!r}, format={self.format!r})"

    def no_texts(self) -> str:
        """What to say when no pair of the last iteration has a text."""
        if not self.columns:
            return f"{self.path} has no texts at all; in a folder they stand in .txt files beside the images"
        found = f"{self.path} has no texts at all; columns found: {', '.join(map(plain, self.columns))}"
        return f"{found}; name those that hold texts with --text-columns"

    def fingerprint(self) -> str:
        """Fingerprint of the content: ids, texts, splits, groups, and names and sizes of the images.

        The same files in another place have the same fingerprint. Reads the source once.
        """
        return fingerprint.combined(_listed_pair(pair) for pair in self._chosen(Reading(self.path, self.options)))

    def _chosen(self, reading: Reading) -> Iterator[Pair]:
        """The pairs of the wanted split; "held-out" is one of every source."""
        wanted = normalise_split(self.options.split)
        if wanted != HELD_OUT:
            return self._read(reading, wanted)
        pairs = list(self._read(reading, None))
        named = [pair for pair in pairs if pair.split == HELD_OUT]
        return iter(named or divide(pairs, "train", "val", SHARE)["val"])

    def _read(self, reading: Reading, wanted: str | None) -> Iterator[Pair]:
        parts = parse_parts(self.options.text_parts)
        seen: Counter[str | None] = Counter()
        fields: set[str] = set()
        keys = _Keys()
        for record in self._records(reading):
            pair, repeats = keys.give(record.pair)
            seen[pair.split] += not pair.is_gallery
            if self.options.origins:
                pair = of_origins(pair, self.options.origins)
            fields.update(text.field for text in pair.texts)
            if wanted in (None, pair.split) or pair.is_gallery:
                _note(reading.notes, record, repeats)
                yield join_parts(pair, parts) if parts else pair
        if not seen:
            raise DataError(self._nothing(reading.skipped), Reason.NO_IMAGE)
        if wanted is not None and not seen[wanted]:
            found = ", ".join(f"{split or 'none'} ({count} pairs)" for split, count in seen.items() if count)
            raise DataError(f"{self.path} has no split {wanted!r}; splits found: {found}", Reason.NO_IMAGE)
        if missing := [part for part in parts if part not in fields]:
            found = ", ".join(sorted(fields)) or "none"
            raise DataError(f"{self.path} has no text part {missing[0]!r}; parts found: {found}", Reason.EMPTY_TEXT)

    def _records(self, reading: Reading) -> Iterator[Joined]:
        if find("reader", self.format).facts.get("lists_once"):
            return map(Joined, self._rows(reading))
        passes = iter((Reading(self.path, self.options), reading))  # the first only to know which images there are
        return joined(lambda: self._rows(next(passes)))

    def _rows(self, reading: Reading) -> Iterator[Pair]:
        for pair in find("reader", self.format).part(reading):
            if is_unicode(_labels(pair)):
                yield pair
            else:
                reading.skip(pair.id, Reason.BAD_ROW, "id, split, class or language is not valid Unicode")

    def _nothing(self, skipped: list[Skipped]) -> str:
        if not skipped:
            return f"{self.path} holds no images or texts (read as {self.format})"
        name, detail = skipped[0].name, skipped[0].detail
        first = f"the first: {detail if detail.startswith(name) else f'{name}: {detail}'}"
        is_elsewhere = self.options.images_root is None and all(each.reason == Reason.MISSING for each in skipped)
        hint = "; if the images are in another folder, name it with --images-root" if is_elsewhere else ""
        return f"{self.path} gave no pairs (read as {self.format}); {len(skipped)} left out, {first}{hint}"


class _Keys:
    """Gives every record a key of its own: its id, and which of the records with this id it is."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}  # hash of an id -> records; two ids of one hash do no harm
        self._in_split: set[int] = set()

    def give(self, pair: Pair) -> tuple[Pair, bool]:
        """The pair with its key, and whether an earlier one of its split has its id."""
        own, within = fingerprint.short(pair.id), fingerprint.short(pair.id, pair.split or "")
        occurrence = self._seen.get(own, 0)
        self._seen[own] = occurrence + 1
        repeats = pair.is_named and within in self._in_split
        self._in_split.add(within)
        return replace(pair, key=numbered_label(pair.id, occurrence)), repeats


def _note(notes: Notes, record: Joined, repeats: bool) -> None:
    if record.rows > 1:
        what = "image" if record.pair.images else "query" if record.pair.queries else "group"
        detail = f"rows joined with an earlier row of the same {what}"
        notes.add(JOINED, detail, record.pair.id, count=record.rows - 1)
    for name, count in record.conflicts.items():
        what = "image" if record.pair.images else "query and document"
        detail = f"joined rows that say another {name} than the first row of their {what}, which is kept"
        notes.add(CONFLICT, detail, record.pair.id, count=count)
    if repeats:
        detail = "records with the id of an earlier one, each kept as a record of its own"
        notes.add(REPEATED_ID, detail, record.pair.id)


def of_origins(pair: Pair, origins: Collection[str] = (Origin.HUMAN,)) -> Pair:
    """The pair with only its texts of these origins: by default those that people wrote, to measure on."""
    return replace(pair, texts=tuple(text for text in pair.texts if text.origin in origins))


def _labels(pair: Pair) -> str:
    labels = [pair.id, pair.split, pair.group, *(text.lang for text in pair.texts)]
    return "".join(label or "" for label in labels)


def _listed_pair(pair: Pair) -> str:
    images = [_listed(image) for image in pair.images]
    texts = [_listed_text(text) for text in pair.texts]
    return fingerprint.of_json([pair.id, images, texts, pair.split, pair.group])


def _listed_text(text: Text) -> list[str | int | None]:
    """What makes a text this one; a text that a person wrote is listed as it was before there were others."""
    plain: list[str | int | None] = [text.value, text.lang, text.field]
    if text.role is not None:
        label = None if text.label is None else f"{text.label:g}"
        return [*plain, text.origin.value, text.meaning, text.engine, text.role.value, label, text.item]
    if text.origin is Origin.HUMAN and text.meaning is None:
        return plain
    return [*plain, text.origin.value, text.meaning, text.engine]


def _listed(image: ImageRef) -> list[str | int]:
    """What makes an image this one, wherever it lies: its name and size, or its bytes."""
    if isinstance(image, BytesImage):
        return [fingerprint.of_bytes(image.data), len(image.data)]
    name = image.member if isinstance(image, TarImage) else PurePath(image.name).name
    try:
        return [name, image.stated_bytes() or 0]
    except DataError:  # deleted since it was listed
        return [name, -1]


def open_source(source: str | Path, options: SourceOptions = DEFAULTS) -> Source:
    """The source at a path: a file, a folder, or (format "huggingface") a name on the hub.

    Raises ConfigError for an unknown format name or a file of no known format, and DataError when
    there is nothing to read.
    """
    if not of_type(source, PATH, 'the path of a source, or a name on the hub with format="huggingface"'):
        raise DataError("found no name of a source; expected the path of a file or folder", Reason.MISSING)
    name = of_type(options, SourceOptions, "SourceOptions as options").format
    path = Path(source).expanduser()
    if name is None:
        name = detect(path, options.encoding)
    elif not find("reader", name).facts.get("by_name") and not path.exists():
        raise DataError(f"no file or folder {path}", Reason.MISSING)
    return Source(path, name, options)
