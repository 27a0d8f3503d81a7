"""Rows of earlier models of a library: kept for readers that still have them open, then dropped."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

from diptych.library import card
from diptych.library.bucket import bucket_of, read_note
from diptych.library.card import Card

from .places import open_place

_FOLDER = re.compile(r"(store|snapshot)(?:-(\d+))?")
NOTE = "reembed.json"  # of an embedding run under way


def names_before(folder: Path, generation: int, keep_seconds: float = 0.0) -> list[str]:
    """Names of the folders of generations older than this one, and of newer ones that no run is working on.

    None for `keep_seconds` after the library switched to this generation.
    """
    if keep_seconds and time.time() - card.written_at(folder) < keep_seconds:
        return []
    bucket = bucket_of(folder)
    names = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    if bucket is not None:
        names |= set(bucket.folders())
    is_begun = read_note(folder, NOTE) is not None
    found: list[str] = []
    for name in sorted(names):
        if match := _FOLDER.fullmatch(name):
            number = int(match[2] or 0)
            if number < generation or (number > generation and not is_begun):
                found.append(name)
    return found


def drop_before(about: Card, folder: Path) -> None:
    """Remove the tables and snapshots of all of those."""
    for name in names_before(folder, about.generation):
        match = _FOLDER.fullmatch(name)
        if match and match[1] == "store":
            open_place(replace(about, generation=int(match[2] or 0)), folder).drop()
        shutil.rmtree(folder / name, ignore_errors=True)
