"""Rows of earlier models of a library: kept for readers that still have them open, then dropped."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

from diptych.library import card
from diptych.library.card import Card

from .places import open_place

_FOLDER = re.compile(r"(store|snapshot)(?:-(\d+))?")
_NOTE = "reembed.json"  # of an embedding run under way


def folders_before(folder: Path, generation: int, keep_seconds: float = 0.0) -> list[Path]:
    """Folders of generations older than this one, and of newer ones that no run is working on.

    None for `keep_seconds` after the library switched to this generation.
    """
    found: list[Path] = []
    if keep_seconds and time.time() - (folder / card.FILE).stat().st_mtime < keep_seconds:
        return found
    for path in sorted(folder.iterdir()):
        match = _FOLDER.fullmatch(path.name)
        if match and path.is_dir():
            number = int(match[2] or 0)
            if number < generation or (number > generation and not (folder / _NOTE).exists()):
                found.append(path)
    return found


def drop_before(about: Card, folder: Path) -> None:
    """Remove the tables and snapshots of all of those."""
    for path in folders_before(folder, about.generation):
        match = _FOLDER.fullmatch(path.name)
        if match and match[1] == "store":
            open_place(replace(about, generation=int(match[2] or 0)), folder).drop()
        shutil.rmtree(path, ignore_errors=True)
