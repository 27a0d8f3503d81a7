"""The files of a table: the source itself, or those in its folder; and the splits that their names state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diptych.core.text import plain

from .options import SPLITS, split_of_name
from .reading import Reading

UNREAD = "tables beside those that are read, of another kind or in another folder, not read"
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".tar")


def table_files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The file itself, or the files in the folder (else in its `data` folder, as on the Hugging Face hub)."""
    if path.is_file():
        return [path]
    for folder in (path, path / "data"):
        if found := sorted(_matching(folder, suffixes)):
            return found
    return sorted(file for child in _folders(path) for file in _matching(child, suffixes))


def source_files(reading: Reading, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of the table that a source is; others in its folder that may hold records too are noted."""
    found = table_files(reading.path, suffixes)
    if reading.path.is_dir():
        folders = [reading.path, *_folders(reading.path)]
        for path in sorted(path for folder in folders for path in _matching(folder, _TABLES)):
            if path not in found:
                reading.notes.name("unread_table", UNREAD, plain(str(path.relative_to(reading.path))))
    return found


def file_split(reading: Reading, path: Path) -> str | None:
    """The split that a file's name states, or its folder's name below the source; it is noted.

    The folder that the source is, or is in, is ignored: people keep data in folders called "dev".
    """
    named = split_of_name(path.name)
    if named is not None:
        reading.notes.name("split", f"split {named}: from the names of files", path.name)
        return named
    below = path.parent != reading.path and path != reading.path
    named = SPLITS.get(path.parent.name.lower()) if below else None
    if named is not None:
        reading.notes.name("split", f"split {named}: from the names of folders", path.parent.name)
    return named


def _matching(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.lower().endswith(suffixes) and not path.name.startswith(".") and path.is_file():
                yield path


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
