"""Rows of any table (CSV, JSONL, Parquet, Arrow, JSON in a tar) become Pairs here, all the same way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core.errors import DiptychError, Reason
from diptych.core.types import BytesImage, ImageRef, Pair, Text

from .columns import Columns, assign
from .meanings import aligned_columns, described_texts, is_described
from .options import normalise_split
from .reading import Reading, is_unicode
from .root import ImageRoot

# Fields whose lists are one text in several lines; a list elsewhere is several texts.
ONE_TEXT = frozenset({"ingredients", "instructions"})


class Rows:
    """Turns rows of one table file into Pairs.

    `split` is the split that the file's name speaks of, used where a row does not say.
    """

    def __init__(self, job: Reading, folder: Path, split: str | None = None) -> None:
        self._job = job
        self._root = ImageRoot(job, folder)
        self._split = split
        self._columns: dict[tuple[str, ...], Columns] = {}

    def columns(self, names: tuple[str, ...], where: str, *, all_texts: bool = False) -> Columns:
        """Roles of the columns, worked out once for each set of names. Raises as `columns.assign`."""
        if names not in self._columns:
            self._columns[names] = assign(names, self._job.options, where, all_texts=all_texts)
        return self._columns[names]

    def pair(self, row: Mapping[str, Any], where: str) -> Pair | None:
        """The Pair of one row, or None after skipping it."""
        try:
            columns = self.columns(tuple(row), where)
        except DiptychError as error:
            self._job.skip(where, getattr(error, "reason", Reason.BAD_ROW), str(error))
            return None
        images = tuple(self._images(row[columns.image], where))
        if not images:
            return None
        identifier = _scalar(row.get(columns.id)) if columns.id else None
        return Pair(
            id=identifier or _image_name(row[columns.image]) or where,
            images=images,
            texts=self.texts(row, columns, where),
            split=normalise_split(_scalar(row.get(columns.split)) if columns.split else None) or self._split,
            group=_scalar(row.get(columns.group)) if columns.group else None,
            meta={name: row[name] for name in columns.rest if is_unicode(name) and _is_plain(row[name])},
            is_named=identifier is not None,
        )

    def texts(self, row: Mapping[str, Any], columns: Columns, where: str) -> tuple[Text, ...]:
        """The texts of one row; a row without any is noted as such."""
        row_lang = _scalar(row.get(columns.lang)) if columns.lang else None
        found: list[Text] = []
        noted = len(self._job.skipped)
        aligned = aligned_columns(row, columns.texts)
        for column in columns.texts:
            lang = column.lang or (row_lang.lower() if row_lang else None)
            if is_described(row[column.name]):
                found += described_texts(self._job, where, row[column.name], lang, column.field)
                continue
            values = strings(row[column.name])
            if column.field in ONE_TEXT and len(values) > 1:
                values = ["\n".join(values)]
            texts = self._job.texts(where, values, lang=lang, field=column.field)
            meaning = aligned.get(column.name)
            found += [replace(text, meaning=meaning) for text in texts] if meaning is not None else texts
        if columns.texts and not found and len(self._job.skipped) == noted:
            self._job.skip(where, Reason.EMPTY_TEXT, "no text")
        return tuple(found)

    def _images(self, value: Any, where: str) -> Iterator[ImageRef]:
        """The images of one cell: a path, bytes, Hugging Face's {bytes, path}, or a list of those."""
        if isinstance(value, list):
            if not value:
                self._job.skip(where, Reason.NO_IMAGE, "empty list of images")
            for item in value:
                yield from self._images(item, where)
        elif isinstance(value, bytes):
            yield BytesImage(value, where)
        elif isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
            label = _image_name(value)
            yield BytesImage(value["bytes"], label if label and is_unicode(label) else where)
        elif isinstance(value, Mapping) and isinstance(value.get("path"), str):
            yield from self._images(value["path"], where)
        elif isinstance(value, str):
            image = self._root.find(where, value)
            if image is not None:
                yield image
        else:
            self._job.skip(where, Reason.NO_IMAGE, f"no image in {type(value).__name__} {str(value)[:40]!r}")


def strings(value: Any) -> list[str]:
    """The strings in one cell: itself, a list of them, or records with the text under a usual key."""
    if isinstance(value, str):
        if value.startswith('["') and value.endswith('"]'):  # a list that was put into a CSV cell as JSON
            try:
                return strings(json.loads(value))
            except (ValueError, RecursionError):
                return [value]
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    if isinstance(value, Mapping):
        for key in ("raw", "text", "caption"):
            if key in value:
                return strings(value[key])
        return []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [str(value)]
    return []


def _scalar(value: Any) -> str | None:
    """An id, split, class or language as a string; None for blank or nested values."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) else None


def _image_name(value: Any) -> str | None:
    """The name that a cell gives to its (first) image."""
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
