"""What an index run did."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from diptych.core.notes import Note
from diptych.core.types import Skipped


@dataclass(frozen=True, slots=True)
class IndexReport:
    """Counts of pictures. `added + updated + moved + unchanged` are in the library now."""

    added: int
    updated: int  # edited, or described anew by their source
    moved: int  # known content at a new path, the old one gone
    unchanged: int
    removed: int
    embedded: int  # pictures that the model had to look at; copies and moves need no look
    skipped: tuple[Skipped, ...]
    seconds: float
    notes: tuple[Note, ...]  # on how the sources were read, and files that were passed over
    trashed: int = 0  # deleted before and still in the trash: left there

    @property
    def total(self) -> int:
        """Pictures of the named paths that the library holds now."""
        return self.added + self.updated + self.moved + self.unchanged

    @property
    def reasons(self) -> dict[str, int]:
        """How many were skipped for each reason."""
        return dict(Counter(skipped.reason.value for skipped in self.skipped))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, skipped files included."""
        return {**asdict(self), "total": self.total, "skipped": [asdict(one) for one in self.skipped]}
