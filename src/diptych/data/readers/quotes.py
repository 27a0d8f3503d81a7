"""Lines of a delimited file to records, where quotation marks may quote cells or just stand there.

A quotation mark that quotes nothing must not swallow the lines after it: a record of several lines whose
later lines are rows themselves, or that ends nowhere, is read again line by line, as it is written.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

Kind = Callable[[list[str]], str | None]

_MOST_STRAY = 1000  # after so many, every line is a record of its own: looking ahead for each would be slow


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
    """The cells of the record that starts with this line, or None when its quotation marks are none."""

    if first.count('"') % 2 == 0:  # as good as always a record of one line, which is read faster by itself
        try:
            return next(csv.reader([first], delimiter=delimiter, strict=True), [])
        except csv.Error:
            pass
    try:
        return next(csv.reader(chain([first], more), delimiter=delimiter, strict=True), [])
    except csv.Error:
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
