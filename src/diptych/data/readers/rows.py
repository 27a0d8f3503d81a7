"""Rows of any table (CSV, JSON lines, Parquet, Arrow, JSON in a tar) become Pairs here, all in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from diptych.core.errors import DataError, DiptychError, Reason
from diptych.core.text import is_unicode
from diptych.core.types import SOUND, BytesImage, ImageRef, Pair, Role, Text
from diptych.data.image_inputs import DEFAULT_LIMITS
from diptych.data.video import SUFFIXES as VIDEO_SUFFIXES
from diptych.data.video import VideoImage

from .cells import CellFacts, cell_facts, listed_strings, no_strings, strings
from .columns import Columns, assign, language_of_column
from .image_files import ImageRoot
from .meanings import aligned_columns, described_texts, is_described
from .options import normalise_split
from .reading import Reading
from .sides import LabelReader, Sides, merged, with_role

# Fields whose lists are one text in several lines; a list elsewhere is several texts.
ONE_TEXT = frozenset({"ingredients", "instructions"})
UNREAD = "columns that look like texts and are not read (name them with --text-columns if they are)"
UNREAD_IMAGES = "columns with further images, not read (--image-column names the one that is)"
_LISTED = "cells with a list in them, read as its items"
_RELABELLED = "rows that label a document of their query twice; the first label is kept"
SAMPLE_ROWS = 1000  # rows whose cells decide which columns hold texts
_SAMPLE_BYTES = 32 << 20  # of images that these rows may hold

Row = Mapping[str, Any]
Place = TypeVar("Place")  # where a row is, or what it is part of


class RowReader:
    """Turns rows of one table file into Pairs.

    `split` is asked for the split of a row that does not say its own.
    """

    def __init__(self, reading: Reading, folder: Path, split: Callable[[], str | None] = lambda: None) -> None:
        self._reading = reading
        self._root = ImageRoot(reading, folder)
        self._labels = LabelReader(reading)
        self._split = split
        self._columns: dict[tuple[str, ...], Columns] = {}
        self._facts: dict[str, CellFacts] = {}

    def check(self, names: Iterable[str], where: str) -> Columns:
        """Roles by name alone of a table's header.

        Raises ConfigError or DataError, with the columns found, when a needed column is not there.
        """
        return assign(tuple(names), self._reading.options, where)

    def pairs(self, rows: Iterable[tuple[str, Row]]) -> Iterator[Pair]:
        """The Pairs of (where, row). Names and the first rows' cells decide which columns hold texts."""
        for where, row in self.sampled(rows):
            if (pair := self._pair(row, where)) is not None:
                yield pair

    def sampled(self, rows: Iterable[tuple[Place, Row]], most: int = SAMPLE_ROWS) -> Iterator[tuple[Place, Row]]:
        """The rows again, once it is known what the cells of the first ones hold."""
        rows = iter(rows)
        sample: list[tuple[Place, Row]] = []
        problem: Exception | None = None
        try:
            _fill(sample, rows, most)
        except Exception as error:  # of a damaged file: the rows before the damage count first
            problem = error
        self._facts = cell_facts(row for _, row in sample)
        yield from sample
        if problem is not None:
            raise problem
        yield from rows

    def columns(self, names: tuple[str, ...], where: str, *, needs_image: bool = True) -> Columns:
        """Roles of the columns, worked out once for each set of names. Raises as `columns.assign`."""
        if names not in self._columns:
            self._columns[names] = found = assign(
                names, self._reading.options, where, facts=self._facts, all_texts=False, needs_image=needs_image
            )
            self._reading.columns.update(dict.fromkeys(names))
            for name in found.numbered:
                self._reading.notes.name("numbered_column", "columns read as texts by their numbered names", name)
            for name in found.unread:
                self._reading.notes.name("unread_column", UNREAD, name)
            if found.sides is not None:
                self._reading.notes.name("text_sides", "columns of texts that ask and are found", found.sides.to_text())
            for name in found.other_images:
                self._reading.notes.name("unread_column", UNREAD_IMAGES, name)
        return self._columns[names]

    def _pair(self, row: Row, where: str) -> Pair | None:
        """The Pair of one row, or None after skipping it."""
        try:
            columns = self.columns(tuple(row), where)
        except DiptychError as error:
            self._reading.skip(where, getattr(error, "reason", Reason.BAD_ROW), str(error))
            return None
        images: tuple[ImageRef, ...] = ()
        of_texts = columns.image is None or self._says_no_image(row, columns)
        if not of_texts and not (images := tuple(self._images(row[columns.image or ""], where))):
            return None
        texts = self._of_sides(row, columns.sides, where, columns) if columns.sides else self.texts(row, columns, where)
        if of_texts and not texts:
            return None
        identifier = _scalar(row.get(columns.id)) if columns.id else None
        return Pair(
            id=identifier or (_image_name(row[columns.image]) if columns.image else None) or where,
            images=images,
            texts=texts,
            split=normalise_split(_scalar(row.get(columns.split)) if columns.split else None) or self._split(),
            group=_scalar(row.get(columns.group)) if columns.group else None,
            meta={name: row[name] for name in columns.rest if is_unicode(name) and _is_plain(row[name])},
            is_named=identifier is not None,
        )

    def texts(self, row: Row, columns: Columns, where: str, *, quiet: bool = False) -> tuple[Text, ...]:
        """The texts of one row; a row without any is noted as such, unless `quiet`."""
        row_lang = _scalar(row.get(columns.lang)) if columns.lang else None
        found: list[Text] = []
        noted = len(self._reading.skipped)
        aligned = aligned_columns(row, columns.texts)
        for column in columns.texts:
            lang = column.lang or (row_lang.lower() if row_lang else None)
            if column.field == SOUND:
                found += self._spoken(row[column.name], where, lang)
                continue
            if is_described(row[column.name]):
                found += described_texts(self._reading, where, row[column.name], lang, column.field)
                continue
            values = self._strings(row[column.name], where)
            for part in no_strings(row[column.name]):
                self._reading.skip(where, Reason.BAD_ROW, f"{column.name}: no text in {part}")
            if column.field in ONE_TEXT and len(values) > 1:
                values = ["\n".join(values)]
            texts = self._reading.texts(where, values, lang=lang, field=column.field)
            meaning = aligned.get(column.name)
            found += [replace(text, meaning=meaning) for text in texts] if meaning is not None else texts
        if columns.texts and not found and not quiet and len(self._reading.skipped) == noted:
            self._reading.skip(where, Reason.EMPTY_TEXT, "no text")
        return tuple(found)

    def _says_no_image(self, row: Row, columns: Columns) -> bool:
        """Whether it is a row of texts only, as `write_pairs` writes it: an empty list of images, described texts."""
        return row[columns.image or ""] == [] and any(is_described(row[column.name]) for column in columns.texts)

    def _spoken(self, cell: Any, where: str, lang: str | None) -> Iterator[Text]:
        """The sounds that a cell of spoken texts names, by their full paths; those that cannot be read are skipped."""
        from diptych.data.images.sources import read_bytes  # Pillow, which no other table needs
        from diptych.data.sounds import probe

        for name in self._strings(cell, where):
            file = self._root.find(where, name, "sound")
            if file is None:
                continue
            try:
                probe(read_bytes(file, DEFAULT_LIMITS), file.name)
            except DataError as error:
                self._reading.skip(where, error.reason, str(error))
            else:
                yield Text(str(file.path.absolute()), lang or self._reading.options.lang, SOUND)

    def _of_sides(self, row: Row, sides: Sides, where: str, columns: Columns) -> tuple[Text, ...]:
        """A query with its documents; none after skipping the row, when one of them or the label cannot be read."""
        label = None
        if sides.label is not None:
            label = self._labels.read(row[sides.label], where, of_entailment=sides.are_of_entailment)
            if label is None:
                return ()
        row_lang = _scalar(row.get(columns.lang)) if columns.lang else None

        def read(column: str | None, role: Role) -> list[Text]:
            if column is None or row[column] is None:
                return []
            lang = language_of_column(column) or (row_lang.lower() if row_lang else None)
            return self._reading.texts(where, self._strings(row[column], where), lang=lang, field=role.value)

        noted = len(self._reading.skipped)
        queries = with_role(read(sides.query, Role.QUERY), Role.QUERY)
        documents = with_role(read(sides.document, Role.DOCUMENT), Role.DOCUMENT, label)
        documents += with_role(read(sides.negative, Role.DOCUMENT), Role.DOCUMENT, 0.0)
        if queries and documents:
            texts, relabelled = merged((), (*queries, *documents))
            if relabelled:
                self._reading.note("conflict", _RELABELLED, where)
            return texts
        if len(self._reading.skipped) == noted:
            missing = f"no document in {sides.document or sides.negative}" if queries else f"no query in {sides.query}"
            self._reading.skip(where, Reason.EMPTY_TEXT, missing)
        return ()

    def _strings(self, cell: Any, where: str) -> list[str]:
        if isinstance(cell, str) and (listed := listed_strings(cell)) is not None:
            self._reading.note("list_in_cell", _LISTED, where)
            return listed
        return strings(cell)

    def _images(self, value: Any, where: str) -> Iterator[ImageRef]:
        """The images of one cell: a path, bytes, Hugging Face's {bytes, path}, or a list of those.

        A path may lead to a video, and {path, start, end} to a part of one, in seconds.
        """
        if isinstance(value, list):
            if not value:
                self._reading.skip(where, Reason.NO_IMAGE, "empty list of images")
            for item in value:
                yield from self._images(item, where)
        elif isinstance(value, bytes):
            yield BytesImage(value, where)
        elif isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
            label = _image_name(value)
            yield BytesImage(value["bytes"], label if label and is_unicode(label) else where)
        elif isinstance(value, Mapping) and isinstance(value.get("path"), str):
            for image in self._images(value["path"], where):
                yield _part(image, value) if isinstance(image, VideoImage) else image
        elif isinstance(value, str) and (listed := listed_strings(value)):
            self._reading.note("list_in_cell", _LISTED, where)
            yield from self._images(list(listed), where)
        elif isinstance(value, str):
            file = self._root.find(where, value)
            if file is not None:
                yield VideoImage(file.path) if file.path.suffix.lower() in VIDEO_SUFFIXES else file
        else:
            self._reading.skip(where, Reason.NO_IMAGE, f"no image in {type(value).__name__} {str(value)[:40]!r}")


def _fill(sample: list[tuple[Place, Row]], rows: Iterator[tuple[Place, Row]], most: int) -> None:
    """Move the first rows into the sample, fewer when they hold images."""
    size = 0
    for where, row in rows:
        sample.append((where, row))
        size += sum(_bytes_in(cell) for cell in row.values())
        if len(sample) >= most or size >= _SAMPLE_BYTES:
            return


def _bytes_in(cell: Any) -> int:
    if isinstance(cell, Mapping):
        cell = cell.get("bytes")
    return len(cell) if isinstance(cell, bytes) else 0


def _part(video: VideoImage, said: Mapping[str, Any]) -> VideoImage:
    """The part from `start` to `end`, in seconds, of a video; all of it where these are no numbers."""
    start, end = (float(said[key]) if isinstance(said.get(key), int | float) else None for key in ("start", "end"))
    return VideoImage(video.path, start or 0.0, end)


def _scalar(value: Any) -> str | None:
    """An id, split, class or language as a string; None for blank or nested values and for NaN, which says nothing."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)) else None


def _image_name(value: Any) -> str | None:
    """The name that a cell gives to its (first) image."""
    if isinstance(value, str) and (listed := listed_strings(value)):
        return _image_name(listed[0])
    if isinstance(value, list):
        return _image_name(value[0]) if value else None
    if isinstance(value, Mapping):
        return _image_name(value.get("path"))
    return value.strip() or None if isinstance(value, str) else None


def _is_plain(value: Any) -> bool:
    """Whether `value` may go to `Pair.meta` as it is."""
    if isinstance(value, str):
        return is_unicode(value)
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
