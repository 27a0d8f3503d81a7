"""What an index run did."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from diptych.core.notes import Note
from diptych.core.types import Skipped

UNDONE = "an undo brought them back after they were gone"


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows that stay although their files are not found, because all of the folder, or list, is away."""

    folder: str  # written form; a file where that was named
    reason: str
    paths: tuple[str, ...]  # of the rows


def kept_by_folder(rows: Iterable[tuple[str, tuple[str, str]]]) -> tuple[Kept, ...]:
    """The paths of rows that stay, each given with the folder that is away and the reason, by that folder."""
    paths: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path, away in rows:
        paths[away].append(path)
    return tuple(Kept(folder, reason, tuple(sorted(found))) for (folder, reason), found in sorted(paths.items()))


@dataclass(frozen=True, slots=True)
class IndexReport:
    """Counts of images, texts or moments.

    In the library now are `added + updated + moved + unchanged + restored`, and what is kept.
    """

    added: int
    updated: int  # edited, or described differently by their source
    moved: int  # known content at a new path, the old one gone
    unchanged: int
    removed: int  # into the trash: their files, or their entries in a list, are gone
    embedded: int  # by the model in this run; copies and moves are not embedded again
    skipped: tuple[Skipped, ...]
    seconds: float
    notes: tuple[Note, ...]  # on how the sources were read, and files that were passed over
    trashed: int = 0  # deleted before and still in the trash: left there
    restored: int = 0  # found again, so that they came back from the trash
    kept: tuple[Kept, ...] = ()  # rows whose folders are away: neither found nor removed
    batch: str | None = None  # for `undo`: the deletion that took what was removed

    @property
    def total(self) -> int:
        """Images of the named paths that the library holds now."""
        return self.found + sum(len(kept.paths) for kept in self.kept)

    @property
    def found(self) -> int:
        """Images that are there and in the library."""
        return self.added + self.updated + self.moved + self.unchanged + self.restored

    @property
    def reasons(self) -> dict[str, int]:
        """How many were skipped for each reason."""
        return dict(Counter(skipped.reason.value for skipped in self.skipped))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, skipped files included."""
        return {**asdict(self), "total": self.total, "skipped": [asdict(one) for one in self.skipped]}
