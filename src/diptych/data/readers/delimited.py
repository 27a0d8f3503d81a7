"""CSV and TSV: the delimiter is found, the columns are named in the first line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.types import Pair

from .files import split_of, table_files
from .reading import Reading, printable
from .rows import Rows
from .textfile import encoding_of

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", "\t", "|", ";")
MAX_HEADER = 1 << 16  # characters


def read(job: Reading) -> Iterator[Pair]:
    """One Pair a row.

    Raises ConfigError or DataError, with the columns found, when a needed column is not there.
    """
    for path in table_files(job.path, SUFFIXES):
        yield from _pairs(job, path)


def looks_like_table(path: Path) -> bool:
    """Whether the first line is a header with a delimiter."""
    header = _header(path, encoding_of(path))
    return len(_split(header, delimiter_of(header))) > 1


def delimiter_of(header: str) -> str:
    """The delimiter that cuts the header into the most columns; a comma when none does."""
    return max(DELIMITERS, key=lambda delimiter: len(_split(header, delimiter)))


def _pairs(job: Reading, path: Path) -> Iterator[Pair]:
    encoding = encoding_of(path)
    header = _header(path, encoding)
    delimiter = delimiter_of(header)
    names = tuple(name.strip() for name in _split(header, delimiter))
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a column twice; columns found: {printable(', '.join(names))}")
    rows = Rows(job, path.parent, split_of(path))
    rows.columns(names, str(path), all_texts=True)
    for where, cells in _rows(job, path, encoding, _dialect(path, encoding, delimiter)):
        if len(cells) != len(names):
            job.skip(where, Reason.BAD_ROW, f"{len(cells)} cells where the header has {len(names)}")
            continue
        pair = rows.pair(dict(zip(names, cells, strict=True)), where)
        if pair is not None:
            yield pair


def _rows(job: Reading, path: Path, encoding: str, dialect: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The rows after the header. Bytes that are not UTF-8 become lone surrogates, refused later by row."""
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as stream:
        stream.readline(MAX_HEADER)
        reader = csv.reader(stream, **dialect)
        while True:
            start = reader.line_num + 2
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeError) as error:
                end = max(start, reader.line_num + 1)
                lines = f"line {start}" if end == start else f"lines {start} to {end}"
                job.skip(f"{path.name} {lines}", Reason.BAD_ROW, str(error))
                if isinstance(error, UnicodeError):
                    return
                continue
            if any(cell.strip() for cell in cells):
                yield f"{path.name} line {start}", cells


def _header(path: Path, encoding: str) -> str:
    try:
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as stream:
            header = stream.readline(MAX_HEADER)
    except UnicodeError as error:
        raise DataError(f"{path} is not valid {encoding}: {error}") from error
    if not header.strip():
        raise DataError(f"{path} is empty; expected a first line that names the columns")
    return header.rstrip("\r\n")


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _dialect(path: Path, encoding: str, delimiter: str) -> dict[str, Any]:
    """Quotes as in a spreadsheet; in tab-separated files only where a whole cell is seen quoted.

    Captions in TSV files are mostly written raw, and one that starts with a quotation mark would
    swallow the lines after it.
    """
    if delimiter == "\t":
        with path.open(encoding=encoding, errors="replace", newline="") as stream:
            sample = stream.read(MAX_HEADER)
        if not re.search(r'(^|\t)"[^"\t]*"(\t|\r|\n|$)', sample):
            return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE}
    return {"delimiter": delimiter, "strict": True}
