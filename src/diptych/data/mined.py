"""Mined hard negatives on disk: JSON lines, a header and then one record each.

    {"format": "diptych-mined", "version": 1, "model": "...", ...}
    {"id": "a", "negatives": ["c", "b"], "gaps": [0.05, -0.01]}

Ids are those of the source's pairs, so training can look them up whatever order it reads in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError
from diptych.core.files import atomic_write

FORMAT, VERSION = "diptych-mined", 1


@dataclass(frozen=True)
class MinedRecord:
    """A record's hard negatives by id, hardest first, with the gap of each."""

    id: str
    negatives: tuple[str, ...]
    gaps: tuple[float, ...]


def write_mined(path: Path, records: Iterable[MinedRecord], about: Mapping[str, Any]) -> int:
    """Write the records as they come, behind a header with `about`; returns how many there were."""
    count = 0
    with atomic_write(path) as stream:
        stream.write(_line({"format": FORMAT, "version": VERSION, **about}))
        for record in records:
            gaps = [round(gap, 5) for gap in record.gaps]
            stream.write(_line({"id": record.id, "negatives": list(record.negatives), "gaps": gaps}))
            count += 1
    return count


def read_mined(path: Path) -> dict[str, tuple[str, ...]]:
    """For each record the ids of those it should meet in a batch, hardest first; () where none was found.

    Raises DataError for a file that `diptych data mine` did not write, naming the line.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            _check_header(path, next(lines, ""))
            for number, line in enumerate(lines, start=2):
                record = _parsed(path, number, line)
                found[record["id"]] = tuple(record["negatives"])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no list of hard negatives: it is not UTF-8 text") from error
    return found


def unknown_ids(mined: Mapping[str, Sequence[str]], ids: Iterable[str]) -> int:
    """How many of a source's ids the mined file does not speak of: other data, or another split."""
    return sum(name not in mined for name in ids)


def _check_header(path: Path, line: str) -> None:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{path} is no list of hard negatives; expected the file that diptych data mine writes")
    if header.get("version") != VERSION:
        raise DataError(f"{path} has version {header.get('version')}, this Diptych reads {VERSION}; mine again")


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if isinstance(record["id"], str) and all(isinstance(name, str) for name in record["negatives"]):
            return dict(record)
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path} line {number} is damaged; expected an id and its negatives: mine again")


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
