"""A source of pairs, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.notes import Notes
from diptych.core.types import FileImage, ImageRef, Origin, Pair, Skipped, TarImage, Text
from diptych.data.text_parts import join_parts, parse_parts

from .detect import detect
from .options import SourceOptions, normalise_split
from .reading import Reading, is_unicode
from .table import READERS

DEFAULTS = SourceOptions()


class Source:
    """Pairs of one file, folder or data set, in an order that does not change.

    `skipped` (what was left out, and why) and `notes` (what was joined, guessed or passed over, counted) are
    filled while iterating, and start anew with each iteration.
    """

    def __init__(self, path: Path, format: str, options: SourceOptions) -> None:
        self.path = path
        self.name = path.resolve().name if path.exists() else path.as_posix()
        self.format = format
        self.options = options
        self.skipped: list[Skipped] = []
        self.notes = Notes()

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs of the wanted split. Raises DataError when there is none at all.

        A text part that no record has is a DataError too, once everything is read.
        """
        self.skipped, self.notes = [], Notes()
        return self._read(Reading(self.path, self.options, self.skipped, self.notes))

    def __repr__(self) -> str:
        return f"Source({str(self.path)!r}, format={self.format!r})"

    def fingerprint(self) -> str:
        """Fingerprint of the content: ids, texts, splits, groups, and names and sizes of the images.

        The same files in another place have the same fingerprint. Reads the source once.
        """
        return fingerprint.combined(self._listing(pair) for pair in self._read(Reading(self.path, self.options)))

    def _read(self, job: Reading) -> Iterator[Pair]:
        wanted = normalise_split(self.options.split)
        parts = parse_parts(self.options.text_parts)
        seen: Counter[str | None] = Counter()
        fields: set[str] = set()
        for pair in READERS[self.format].read(job):
            if not is_unicode(_labels(pair)):
                job.skip(pair.id, Reason.BAD_ROW, "id, split, class or language is not valid Unicode")
                continue
            seen[pair.split] += 1
            if self.options.origins:
                pair = of_origins(pair, self.options.origins)
            fields.update(text.field for text in pair.texts)
            if wanted is None or pair.split == wanted:
                yield join_parts(pair, parts) if parts else pair
        if not seen:
            raise DataError(self._nothing(job.skipped), Reason.NO_IMAGE)
        if wanted is not None and wanted not in seen:
            found = ", ".join(f"{split or 'none'} ({count} pairs)" for split, count in seen.items())
            raise DataError(f"{self.path} has no split {wanted!r}; splits found: {found}", Reason.NO_IMAGE)
        if missing := [part for part in parts if part not in fields]:
            found = ", ".join(sorted(fields)) or "none"
            raise DataError(f"{self.path} has no text part {missing[0]!r}; parts found: {found}", Reason.EMPTY_TEXT)

    def _nothing(self, skipped: list[Skipped]) -> str:
        if not skipped:
            return f"{self.path} holds no images (read as {self.format})"
        first = skipped[0]
        return (
            f"{self.path} gave no pairs (read as {self.format}); {len(skipped)} left out, "
            f"the first: {first.name}: {first.detail}"
        )

    def _listing(self, pair: Pair) -> str:
        images = [_listed(image) for image in pair.images]
        texts = [_listed_text(text) for text in pair.texts]
        return fingerprint.of_json([pair.id, images, texts, pair.split, pair.group])


def of_origins(pair: Pair, origins: Collection[str] = (Origin.HUMAN,)) -> Pair:
    """The pair with only its texts of these origins: by default those that people wrote, to measure on."""
    return replace(pair, texts=tuple(text for text in pair.texts if text.origin in origins))


def _labels(pair: Pair) -> str:
    labels = [pair.id, pair.split, pair.group, *(text.lang for text in pair.texts)]
    return "".join(label or "" for label in labels)


def _listed_text(text: Text) -> list[str | int | None]:
    """What makes a text this one; a text that a person wrote is listed as it was before there were others."""
    plain: list[str | int | None] = [text.value, text.lang, text.field]
    if text.origin is Origin.HUMAN and text.meaning is None:
        return plain
    return [*plain, text.origin.value, text.meaning, text.engine]


def _listed(image: ImageRef) -> list[str | int]:
    if isinstance(image, FileImage):
        return [image.path.name, _size(image.path)]
    if isinstance(image, TarImage):
        return [image.member, image.size]
    return [fingerprint.of_bytes(image.data), len(image.data)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted since it was listed
        return -1


def open_source(spec: str | Path, options: SourceOptions = DEFAULTS) -> Source:
    """The source at `spec`: a file, a folder, or (format "huggingface") a name on the hub.

    Raises ConfigError for an unknown format name or a file of no known format, and DataError when
    there is nothing to read.
    """
    path = Path(spec).expanduser()
    choices = ", ".join(sorted(READERS))
    name = options.format
    if name is not None and name not in READERS:
        raise ConfigError(f"unknown format {name!r}; choose from {choices}")
    if name is None:
        name = detect(path, choices)
    elif not READERS[name].by_name and not path.exists():
        raise DataError(f"no file or folder {path}", Reason.MISSING)
    return Source(path, name, options)
