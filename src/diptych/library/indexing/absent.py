"""Whether a file that is not found was removed, or its whole folder is away, as when a drive is not mounted."""

from __future__ import annotations

import os

from diptych.core.file_names import escape, unescape
from diptych.library.sources import AWAY, EMPTY, has_file


class Absences:
    """Which folders are away; each is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str] | None] = {}

    def of(self, path: str) -> tuple[str, str] | None:
        """The folder, in written form, that is away with the file of this path, and why; None for the file alone.

        A folder is away when it does not exist, or when neither it nor a folder below it has a visible file.
        """
        name = unescape(path)
        folder = os.path.dirname(name)  # noqa: PTH120 - takes every name
        if "::" in name and not os.path.isdir(folder):  # noqa: PTH112
            folder = os.path.dirname(name.partition("::")[0])  # noqa: PTH120
        if folder not in self._known:
            self._known[folder] = _away(folder)
        return self._known[folder]


def exists(path: str) -> bool:
    """Whether the file, or the container that holds it, is there (a dangling link counts as not there)."""
    name = unescape(path)
    # os.path, because Path.exists raises on a folder that may not be entered
    return os.path.exists(name) or ("::" in name and os.path.exists(name.partition("::")[0]))  # noqa: PTH110


def _away(folder: str) -> tuple[str, str] | None:
    missing = None
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:  # noqa: PTH112, PTH120
        missing, folder = folder, os.path.dirname(folder)  # noqa: PTH120
    if missing is not None and os.path.lexists(missing):
        return escape(missing), "it is no folder any more"
    if not has_file(folder):
        return escape(folder), EMPTY
    return None if missing is None else (escape(missing), AWAY)
