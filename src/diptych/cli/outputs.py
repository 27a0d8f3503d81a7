"""Where results go, checked before the work that makes them starts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError
from diptych.core.files import write_bytes, write_json
from diptych.core.text import one_line

CSV = (".csv",)
HTML = (".html", ".htm")
JSON = (".json",)
JSON_LINES = (".jsonl", ".ndjson")
MARKDOWN = (".md", ".markdown", ".txt")
ONNX = (".onnx",)
PNG = (".png",)
_TABLES = (".csv", ".tsv", ".parquet", ".toml", ".jpg", ".jpeg")
_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z")
_OF_FILES = {*HTML, *JSON, *JSON_LINES, *MARKDOWN, *ONNX, *PNG, *_TABLES, *_ARCHIVES}


def check_file(path: Path | None, flag: str, endings: tuple[str, ...], source: str | Path = "") -> None:
    """Raise ConfigError unless a file of one of these endings can be written there; None is no file.

    A file that is there is replaced, unless it is the `source` that is being read; missing folders are made.
    """
    if path is None:
        return
    shown = f"{flag} {one_line(str(path))!r}"
    if path.is_dir():
        raise ConfigError(
            f"{shown} is a folder; expected a file's name, such as {one_line(str(path / f'x{endings[0]}'))}"
        )
    if path.suffix.lower() not in endings:
        raise ConfigError(f"{shown}: expected a file name that ends in {' or '.join(endings)}")
    if source and path.exists() and os.path.realpath(path) == os.path.realpath(source):
        raise ConfigError(f"{shown} is the source itself, which would be replaced; give another name")
    _check_writable(path.parent, shown)


def check_folder(path: Path | None, flag: str) -> None:
    """Raise ConfigError unless a folder of this name is there or can be made, and files can be written into it."""
    if path is None:
        return
    shown = f"{flag} {one_line(str(path))!r}"
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{shown} is a file; expected a folder, which several files are written into")
    if path.suffix.lower() in _OF_FILES and not path.is_dir():
        raise ConfigError(
            f"{shown} is named like a file; expected a folder, such as {one_line(str(path.with_suffix('')))}/"
        )
    _check_writable(path, shown)


def _check_writable(folder: Path, shown: str) -> None:
    """Raise ConfigError unless files can be written into the folder, or into the nearest one above that is there."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(one))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(
            f"{shown} cannot be written: {one_line(str(there))}: {error.strerror or error}; give another name"
        ) from error


def write(path: Path | None, content: Mapping[str, Any] | str | bytes) -> None:
    """Write JSON, text or bytes to a file, whole or not at all; None is no file."""
    if path is None:
        return
    if isinstance(content, Mapping):
        write_json(path, content)
    else:
        write_bytes(path, content.encode("utf-8", "replace") if isinstance(content, str) else content)
