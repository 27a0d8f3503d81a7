"""Mined hard negatives on disk: JSON lines, a header and then one record each.

    {"format": "diptych-mined", "version": 2, "model": "...", ...}
    {"record": "a", "images": "5f0c...", "negatives": ["c", "b"], "gaps": [0.05, -0.01]}

Records are named by the keys that a source gives them, which are unique in it. The fingerprint of a record's images
tells whether the key still is that of the same record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError
from diptych.core.files import atomic_write
from diptych.core.shapes import Int64

FORMAT, VERSION = "diptych-mined", 2


@dataclass(frozen=True)
class MinedRecord:
    """A record's hard negatives by key, hardest first, with the gap of each; `images` as of `images_of`."""

    record: str
    images: str
    negatives: tuple[str, ...]
    gaps: tuple[float, ...]


def write_mined(path: Path, records: Iterable[MinedRecord], about: Mapping[str, Any]) -> int:
    """Write the records as they come, behind a header with `about`; returns how many there were."""
    count = 0
    with atomic_write(path) as stream:
        stream.write(_line({"format": FORMAT, "version": VERSION, **about}))
        for record in records:
            gaps = [round(gap, 5) for gap in record.gaps]
            stream.write(_line({**asdict(record), "gaps": gaps}))
            count += 1
    return count


@dataclass(frozen=True)
class MinedFile:
    """What a file holds: for each record the fingerprint of its images, and its hard negatives, hardest first."""

    images: Mapping[str, str]
    negatives: Mapping[str, tuple[str, ...]]

    def changed(self, images: Mapping[str, str]) -> list[str]:
        """Those of these records (key -> fingerprint of images) whose images are not those that were mined."""
        return [key for key, now in images.items() if self.images.get(key, now) != now]


def images_of(image_owner: Int64[np.ndarray, " n"], keys: Sequence[bytes | None]) -> list[str]:
    """A fingerprint of each record's images, from the keys of their bytes; `image_owner` ascends from 0."""
    parts: list[list[bytes]] = [[] for _ in range(int(image_owner.max(initial=-1)) + 1)]
    for owner, key in zip(image_owner.tolist(), keys, strict=True):
        parts[owner].append(key or b"")
    return [fingerprint.of_bytes(*own)[:16] for own in parts]


def read_mined(path: Path) -> MinedFile:
    """Raises DataError for a file that `diptych data mine` did not write, naming the line."""
    images: dict[str, str] = {}
    negatives: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            _check_header(path, next(lines, ""))
            for number, line in enumerate(lines, start=2):
                record = _parsed(path, number, line)
                if record["record"] in images:
                    raise DataError(f"{path} line {number} names record {record['record']!r} twice; mine again")
                images[record["record"]] = record["images"]
                negatives[record["record"]] = tuple(record["negatives"])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no list of hard negatives: it is not UTF-8 text") from error
    return MinedFile(images, negatives)


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
        if all(isinstance(name, str) for name in (record["record"], record["images"], *record["negatives"])):
            return dict(record)
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path} line {number} is damaged; expected a record, its images and its negatives; mine again")


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
