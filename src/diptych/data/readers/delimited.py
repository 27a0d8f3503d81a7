"""CSV and TSV files. The first line names the columns; the delimiter is found.

    image,caption,split
    dogs/1.jpg,"A dog, running",train

Columns are recognised by their names and what they hold (`columns`). A quotation mark that quotes nothing must not
swallow the lines after it: a record of several lines whose later lines are rows themselves, or whose quotes never
close, is read again line by line, as it is written.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import plain
from diptych.core.types import Pair
from diptych.data.images import SUFFIXES as IMAGE_SUFFIXES

from .encodings import Encoding, encoding_of, open_text
from .files import file_split, source_files
from .reading import Reading
from .rows import RowReader
from .textfile import text_encoding

Kind = Callable[[list[str]], str | None]

_MOST_STRAY = 1000  # after so many, every line is a record of its own: looking ahead for each would be slow
SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", "\t", "|", ";")
MAX_HEADER = 1 << 16  # characters


@dataclass(frozen=True, slots=True)
class Record:
    """One record, with the first and last line that it stands on; the header is line 1."""

    line: int
    last: int
    cells: list[str]
    raw: bool = False  # a quotation mark in it quotes nothing
    problem: str = ""  # what keeps it from being read; it has no cells then


class _Lines:
    """The lines, numbered; lines that were taken may be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self.number = 1  # of the last line taken; the header is the first
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line

    def keep_first(self) -> None:
        """Give back all lines taken but the first."""
        self._back.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        del self.taken[1:]


def records(lines: Iterable[str], delimiter: str, width: int, kind: Kind, *, quoted: bool) -> Iterator[Record]:
    """The records of the lines after the header; each has `width` cells, or a problem.

    `kind` tells what kind of row the cells of a single line are by themselves, None for no row. Without `quoted`
    a quotation mark is a character like any other.
    """
    taken = _Lines(lines)
    strays = 0
    while True:
        taken.taken.clear()
        first = next(taken, None)
        if first is None:
            return
        line = taken.number
        if not quoted or '"' not in first or strays > _MOST_STRAY:
            yield _single(line, first, delimiter, width, quoted=quoted)
            continue
        cells = _quoted(first, taken, delimiter)
        if len(taken.taken) == 1 and cells is not None and len(cells) == width:
            yield Record(line, line, cells)
        elif len(taken.taken) == 1 or _swallows(taken.taken, delimiter, kind):
            strays += len(taken.taken) > 1
            taken.keep_first()
            yield _single(line, first, delimiter, width, quoted=True)
        elif cells is None:
            yield Record(line, taken.number, [], problem="its quotation marks do not close")
        elif len(cells) != width:
            yield Record(line, taken.number, [], problem=_wrong(cells, width))
        else:
            yield Record(line, taken.number, cells)


def _quoted(first: str, more: Iterator[str], delimiter: str) -> list[str] | None:
    """The cells of the record that starts with this line, or None when its quotation marks quote nothing."""
    if first.count('"') % 2 == 0:  # nearly always a record of one line, which is read faster by itself
        with contextlib.suppress(csv.Error):
            return next(csv.reader([first], delimiter=delimiter, strict=True), [])
    with contextlib.suppress(csv.Error):
        return next(csv.reader(chain([first], more), delimiter=delimiter, strict=True), [])
    return None


def _swallows(lines: list[str], delimiter: str, kind: Kind) -> bool:
    """Whether these lines of one record are rows by themselves: the first, and any of the others."""
    found = kind(_plain(lines[0], delimiter))
    return found is not None and any(kind(_plain(line, delimiter)) == found for line in lines[1:])


def _single(line: int, text: str, delimiter: str, width: int, *, quoted: bool) -> Record:
    """One line by itself: quoted if that works, else as it is written."""
    cells = _quoted(text, iter(()), delimiter) if quoted and '"' in text else None
    if cells is not None and len(cells) == width:
        return Record(line, line, cells)
    plain = _plain(text, delimiter)
    if not any(cell.strip() for cell in plain):
        return Record(line, line, plain if len(plain) == width else [""] * width)
    if len(plain) != width:
        return Record(line, line, [], problem=_wrong(cells or plain, width))
    return Record(line, line, plain, raw=quoted and '"' in text)


def _plain(line: str, delimiter: str) -> list[str]:
    return line.rstrip("\r\n").split(delimiter)


def _wrong(cells: list[str], width: int) -> str:
    return f"{len(cells)} cells where the header has {width}"


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
    rows = RowReader(reading, path.parent, lambda: file_split(reading, path))
    columns = rows.check(names, str(path))
    telling = columns.image or (columns.sides.label if columns.sides else None) or columns.id or columns.group
    place = None if telling is None else names.index(telling)

    def kind(cells: list[str]) -> str | None:
        """What a row by itself has for an image (else a label, id or class); None for a line that may be the end of a
        text of several lines."""
        image = cells[place].strip() if place is not None and len(cells) == len(names) else ""
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
