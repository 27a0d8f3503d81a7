"""Which rows are at or below a path, as a filter: a store finds them by its order of paths, without listing all."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.core.file_names import escape

from .rows import OWNED, is_below
from .where import AllOf, AnyOf, Condition, Where


def below(root: str, folder: Path) -> Where:
    """Rows of the library in `folder` whose image is at a written path, or in that folder or container."""
    return AnyOf((*_paths_below(root).parts, *_owned_below(root, escape(os.path.abspath(folder)))))  # noqa: PTH100


def known_below(root: str) -> Where:
    """Rows of a source, or whose path as it is stored is at or below a written path."""
    return AnyOf((Condition("source", "=", root), *_paths_below(root).parts))


def _paths_below(root: str) -> AnyOf:
    """What `rows.is_below` says, of paths as they are stored."""
    return AnyOf((Condition("path", "=", root), _starts_with(root.rstrip("/") + "/"), _starts_with(root + "::")))


def _owned_below(root: str, folder: str) -> tuple[Where, ...]:
    """The same of the files that the library keeps itself, whose stored paths begin with "./"."""
    if is_below(folder + OWNED[1:], root):
        return (_starts_with(OWNED),)
    return _paths_below("." + root[len(folder) :]).parts if root.startswith(folder + "/") else ()


def _starts_with(start: str) -> Where:
    """From this text to the first one that does not begin with it: exact in every store, whatever signs are in it."""
    return AllOf((Condition("path", ">=", start), Condition("path", "<", start[:-1] + chr(ord(start[-1]) + 1))))
