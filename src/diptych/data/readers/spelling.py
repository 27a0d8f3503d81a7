"""Files by the names people give them, where the disk spells these another way: accents, upper and lower case."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from .reading import Reading

_SPELT = "files found by another spelling of their names (accents in one or two characters; upper and lower case)"


class Spellings:
    """The names in folders, by what is the same but for accents' encoding and case. Each folder is listed once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def find(self, folder: Path, name: str) -> tuple[Path | None, list[str]]:
        """The one file below `folder` whose path differs from `name` in spelling only, else None.

        The list has the names that could be meant, where there are several.
        """
        place = folder
        for part in Path(name).parts:
            if part in ("..", "/") or _exists(place / part):
                place /= part
                continue
            found = self._listing(place).get(folded(part), [])
            same = [other for other in found if _composed(other) == _composed(part)] or found
            if len(same) != 1:
                return None, same
            place /= same[0]
        if not place.is_file():
            return None, []
        self._reading.notes.name("other_spelling", _SPELT, f"{name} as {place.name}")
        return place, []

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            try:
                for name in sorted(entry.name for entry in folder.iterdir()):
                    names.setdefault(folded(name), []).append(name)
            except OSError:  # no such folder, or one that may not be read: nothing is in it
                pass
            self._folders[folder] = names
        return self._folders[folder]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What spellings of one name have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system
        return False
