"""Remarks on how data was read: what was joined, guessed, found by another name or passed over, and how often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

EXAMPLES = 3  # named with each note


@dataclass(frozen=True, slots=True)
class Note:
    """One kind of remark, counted."""

    kind: str  # stable, for scripts: "mask", "list_in_cell"
    count: int
    detail: str  # what was done, for people; the same for any count, as it is printed before it
    examples: tuple[str, ...] = ()  # the first ones

    def to_text(self) -> str:
        """One line: "further images of a sample, not read: 12 (0.seg.png, 1.seg.png, 2.seg.png, ...)"."""
        more = ", ..." if self.count > len(self.examples) else ""
        named = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.detail}: {self.count:,}{named}"


class Notes:
    """Notes as they come up. Remarks of one kind and detail are counted together, in the order of the first."""

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._examples: dict[tuple[str, str], dict[str, None]] = {}
        self.extend(notes)

    def add(self, kind: str, detail: str, *examples: str, count: int = 1) -> None:
        """Count a remark; of the examples the first few distinct ones are kept."""
        key = (kind, " ".join(detail.split()))
        self._counts[key] = self._counts.get(key, 0) + count
        kept = self._examples.setdefault(key, {})
        for example in examples:
            if len(kept) < EXAMPLES:
                kept[" ".join(example.split()).encode("utf-8", "backslashreplace").decode()] = None

    def extend(self, notes: Iterable[Note]) -> None:
        """Count other notes along."""
        for note in notes:
            self.add(note.kind, note.detail, *note.examples, count=note.count)

    def __iter__(self) -> Iterator[Note]:
        """The notes so far."""
        return iter([Note(key[0], count, key[1], tuple(self._examples[key])) for key, count in self._counts.items()])

    def __len__(self) -> int:
        return len(self._counts)


def notes_json(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """JSON-ready."""
    return [asdict(note) for note in notes]


def note_lines(notes: Iterable[Note]) -> list[str]:
    """A line each, as every command prints them."""
    return [f"note: {note.to_text()}" for note in notes]
