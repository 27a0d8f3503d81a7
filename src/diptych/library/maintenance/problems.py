"""What may be wrong with a library, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from diptych.core.errors import LibraryError

_NAMED = 5  # missing images in a message; the error has them all
_REPAIR = "diptych library repair"
_INDEX = "index its folder again"
_BACKUP = "restore a backup, or remove it from the library"
_REMEDIES = {
    "duplicate_id": _REPAIR,
    "duplicate_path": _REPAIR,
    "bad_vector": f"{_REPAIR} --vectors, where its image is as it was; else {_BACKUP}",
    "missing_file": _INDEX,
    "changed_file": _INDEX,
    "missing_original": _BACKUP,
    "damaged_original": _BACKUP,
    "missing_thumb": f"{_REPAIR}, where its image is as it was",
    "damaged_thumb": f"{_REPAIR}, where its image is as it was",
    "orphan_thumb": _REPAIR,
    "orphan_file": f"{_REPAIR} (it moves the file to the folder lost)",
    "leftover_file": _REPAIR,
    "stale_snapshot": _REPAIR,
    "old_versions": _REPAIR,
    "old_generation": _REPAIR,
}
# What a killed process leaves behind: it takes room, and nothing else.
HARMLESS = frozenset({"orphan_thumb", "orphan_file", "leftover_file", "old_versions", "old_generation"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and what to do about it."""

    kind: str
    name: str  # a path, or an id
    detail: str

    @property
    def remedy(self) -> str:
        """What repairs it."""
        return _REMEDIES[self.kind]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    images: int
    problems: tuple[Problem, ...]

    @property
    def kinds(self) -> dict[str, int]:
        """How many problems of each kind."""
        return dict(Counter(problem.kind for problem in self.problems))


class MissingImagesError(LibraryError):
    """Images that have to be embedded again are gone, changed or unreadable."""

    def __init__(self, paths: Sequence[str], total: int, *, thumbnails: bool) -> None:
        self.paths = tuple(paths)
        first = ", ".join(self.paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
        remedy = (
            "delete them from the library, or bring them back"
            if thumbnails
            else "bring them back, delete them from the library, or allow their thumbnails: --thumbnails"
        )
        super().__init__(
            f"{len(paths)} of {total} images cannot be embedded again, because their files are gone, changed or "
            f"unreadable: {first}; {remedy}; then run this again: what was embedded is kept"
        )
