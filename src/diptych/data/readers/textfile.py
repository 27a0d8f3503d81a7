"""Reads text files line by line, and JSON, whatever they hold: byte-order marks, UTF-16, broken bytes, huge lines."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason, opening

from .encodings import WIDE, Encoding, encoding_of, open_text
from .reading import Reading

MAX_LINE = 16 << 20  # bytes; a longer line is skipped, not held in memory
_SAMPLE = 1 << 16  # bytes


def text_encoding(reading: Reading, path: Path) -> Encoding:
    """The encoding of a file of this source; a guess is noted. Raises DataError as `encodings.encoding_of`."""
    found = encoding_of(path, reading.options.encoding)
    if found.remark:
        reading.notes.name("encoding", f"files {found.remark}", path.name)
    return found


def head(path: Path, size: int = _SAMPLE) -> bytes:
    """The first `size` bytes. Raises DataError(missing) when the file cannot be opened."""
    with opening(path), path.open("rb") as stream:
        return stream.read(size)


def lines(reading: Reading, path: Path) -> Iterator[tuple[str, str]]:
    """("file line 12", text) for each non-blank line; lines that are not Unicode are skipped and named.

    A line ends at a line feed, with or without a carriage return before it, and nowhere else.
    """
    encoding = text_encoding(reading, path)
    if encoding.name.startswith(WIDE):
        yield from _wide_lines(reading, path, encoding)
        return
    with path.open("rb") as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
            where = f"{path.name} line {number}"
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                reading.skip(where, Reason.BAD_ROW, f"longer than {MAX_LINE >> 20} MB")
                continue
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                text = raw.decode("utf-8" if encoding.name == "utf-8-sig" else encoding.name).strip("\r\n")
            except UnicodeDecodeError as error:
                detail = f"not {encoding.name.upper()}: {error.reason} at byte {error.start}"
                reading.skip(where, Reason.BAD_ROW, detail)
                continue
            if text.strip():
                yield where, text


def _wide_lines(reading: Reading, path: Path, encoding: Encoding) -> Iterator[tuple[str, str]]:
    number = 0
    with path.open(encoding=encoding.name, newline="\n") as stream:
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"{path.name} line {number}", line.strip("\r\n")
        except UnicodeError as error:
            reading.skip(path.name, Reason.TRUNCATED, f"not {encoding.name} after line {number}: {error}")


def load_json(reading: Reading, path: Path) -> Any:
    """The content of a whole JSON file. Raises DataError for what is not JSON."""
    try:
        with _opened(reading, path) as stream:
            return json.load(stream)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error


@contextlib.contextmanager
def _opened(reading: Reading, path: Path) -> Iterator[io.TextIOWrapper]:
    encoding = text_encoding(reading, path)
    try:
        with opening(path), open_text(path, encoding) as stream:
            yield stream
    except UnicodeError as error:
        raise DataError(f"{path} is not valid {encoding.name}: {error}") from error


def json_array(reading: Reading, path: Path, key: str = "", *, block: int = 1 << 20) -> Iterator[Any]:
    """The elements of a JSON array one by one, so that a file of gigabytes fits in memory.

    The array is the whole file or, with a `key`, the first one under that key of an object. Raises DataError when there
    is no such array, or it breaks off.
    """
    start = re.compile(rf'"{re.escape(key)}"\s*:\s*\[' if key else r"\[")
    overlap = len(key) + 64  # characters: a key may lie across two blocks
    with _opened(reading, path) as stream:
        buffer = stream.read(block).lstrip()
        if not buffer.startswith("{" if key else "["):
            raise DataError(f"{path} must hold a JSON {'object' if key else 'array'}, found {buffer[:20]!r}")
        while (match := start.search(buffer)) is None:
            more = stream.read(block)
            if not more:
                raise DataError(f"{path} has no list under {key!r}")
            buffer = buffer[-overlap:] + more
        yield from _elements(path, stream, buffer[match.end() :], block)


def _elements(path: Path, stream: io.TextIOWrapper, buffer: str, block: int) -> Iterator[Any]:
    """The elements of an array whose "[" has been read, up to its "]"."""
    count = 0
    while True:
        try:
            found = _element(buffer)
        except RecursionError as error:
            raise DataError(f"{path} element {count} is nested too deeply") from error
        except ValueError as error:
            more = stream.read(max(block, len(buffer)))  # doubling keeps it linear
            if not more:
                raise DataError(f"{path} is broken after {count} elements: {error}") from error
            buffer += more
            continue
        if found is None:
            return
        value, buffer = found
        count += 1
        yield value


_DECODER = json.JSONDecoder()


def _element(buffer: str) -> tuple[Any, str] | None:
    """The next element and what follows it, or None at the "]". Raises ValueError while it may go on."""
    buffer = buffer.lstrip(" \t\r\n,")
    if buffer.startswith("]"):
        return None
    value, end = _DECODER.raw_decode(buffer)
    if end == len(buffer):  # a number such as 12 may go on as 123
        raise ValueError("the array has no end")
    return value, buffer[end:]
