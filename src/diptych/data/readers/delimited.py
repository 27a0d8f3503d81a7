"""CSV and TSV: the delimiter is found, the columns are named in the first line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import plain
from diptych.core.types import Pair
from diptych.data.images import SUFFIXES as IMAGE_SUFFIXES

from .encodings import Encoding, encoding_of, open_text
from .files import file_split, source_files
from .quotes import Kind, Record, records
from .reading import Reading
from .rows import Rows
from .textfile import text_encoding

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", "\t", "|", ";")
MAX_HEADER = 1 << 16  # characters


@register.reader("csv", "CSV or TSV with a header")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a row.

    Raises ConfigError or DataError, with the columns found, when a needed column is not there.
    """
    for path in source_files(reading, SUFFIXES):
        yield from _pairs(reading, path)


def looks_like_table(path: Path, stated: str | None = None) -> bool:
    """Whether the first line is a header with a delimiter."""
    try:
        encoding = encoding_of(path, stated)
    except DataError:
        return False
    header = _header(path, encoding)
    return len(_split(header, delimiter_of(header))) > 1


def delimiter_of(header: str) -> str:
    """The delimiter that cuts the header into the most columns; a comma when none does."""
    return max(DELIMITERS, key=lambda delimiter: len(_split(header, delimiter)))


def _pairs(reading: Reading, path: Path) -> Iterator[Pair]:
    encoding = text_encoding(reading, path)
    header = _header(path, encoding)
    delimiter = delimiter_of(header)
    names = tuple(name.strip() for name in _split(header, delimiter))
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a column twice; columns found: {plain(', '.join(names))}")
    rows = Rows(reading, path.parent, lambda: file_split(reading, path))
    place = names.index(rows.check(names, str(path)).image or "")

    def kind(cells: list[str]) -> str | None:
        """What a row by itself has for an image; None for a line that may be the end of a text of several lines."""
        image = cells[place].strip() if len(cells) == len(names) else ""
        if image.lower().endswith(tuple(IMAGE_SUFFIXES)):
            return "file"
        return "name" if image and len(image.split()) == 1 else None

    table = _Table(path, encoding, delimiter, len(names), kind)
    yield from rows.pairs(_rows(reading, table, names))


class _Table:
    """How the lines of one file are cut into cells."""

    def __init__(self, path: Path, encoding: Encoding, delimiter: str, width: int, kind: Kind) -> None:
        self.path, self._encoding, self._delimiter, self._width, self._kind = path, encoding, delimiter, width, kind

    def records(self, *, most: int | None = None, quoted: bool = True) -> Iterator[Record]:
        """The records after the header; of the first `most` characters only."""
        with open_text(self.path, self._encoding) as stream:
            stream.readline(MAX_HEADER)
            lines = stream if most is None else io.StringIO(stream.read(most), newline="")
            yield from records(lines, self._delimiter, self._width, self._kind, quoted=quoted)

    def is_quoted(self) -> tuple[bool, str]:
        """Whether quotation marks are those of a spreadsheet, and a remark where that is not clear.

        They are everywhere but in tab-separated files, whose captions are mostly written raw: there only where
        whole cells are seen in quotes, and no quotation mark is seen that quotes nothing.
        """
        if self._delimiter != "\t":
            return True, ""
        with open_text(self.path, self._encoding) as stream:
            sample = stream.read(MAX_HEADER)
        if not re.search(r'(^|[\t\n])"([^"\t]|"")*"([\t\r\n]|$)', sample):
            return False, ""
        if any(record.raw for record in self.records(most=MAX_HEADER)):
            return False, "tab-separated files whose quotation marks are read as part of the texts"
        return True, ""


def _rows(reading: Reading, table: _Table, names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows after the header. Bytes that cannot be decoded are lone surrogates, refused later by row."""
    quoted, remark = table.is_quoted()
    if remark:
        reading.notes.name("raw_quotes", remark, table.path.name)
    try:
        for record in table.records(quoted=quoted):
            where = f"{table.path.name} line {record.line}"
            if record.raw and quoted:
                reading.note("stray_quote", "lines with a quotation mark that quotes no cell, read as they are", where)
            if record.problem:
                lines = f"lines {record.line} to {record.last}" if record.last > record.line else f"line {record.line}"
                reading.skip(f"{table.path.name} {lines}", Reason.BAD_ROW, record.problem)
            elif any(cell.strip() for cell in record.cells):
                yield where, dict(zip(names, record.cells, strict=True))
    except UnicodeError as error:
        reading.skip(table.path.name, Reason.TRUNCATED, f"cannot be decoded further: {error}")


def _header(path: Path, encoding: Encoding) -> str:
    try:
        with open_text(path, encoding) as stream:
            header = stream.readline(MAX_HEADER)
    except UnicodeError as error:
        raise DataError(f"{path} is not valid {encoding.name}: {error}") from error
    if not header.strip():
        raise DataError(f"{path} is empty; expected a first line that names the columns")
    return header.rstrip("\r\n")


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])
