"""The files of a table: the source itself, or those in its folder; and the splits their names speak of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .options import SPLITS, split_of_name


def table_files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The file itself, or the files in the folder (else in its `data` folder, as on the Hugging Face hub)."""
    if path.is_file():
        return [path]
    for folder in (path, path / "data"):
        if found := sorted(_matching(folder, suffixes)):
            return found
    return sorted(file for child in _folders(path) for file in _matching(child, suffixes))


def split_of(path: Path) -> str | None:
    """The split that the file's own name, or its folder's, speaks of."""
    return split_of_name(path.name) or SPLITS.get(path.parent.name.lower())


def _matching(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.lower().endswith(suffixes) and not path.name.startswith(".") and path.is_file():
                yield path


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
