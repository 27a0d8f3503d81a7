"""Notes on how data was read: what was joined, guessed, found under another name or not read, and how often."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

EXAMPLES = 3  # named with each note
CUT = "cut_text"  # the kind of a note on texts that are longer than a model reads


@dataclass(frozen=True, slots=True)
class Note:
    """One kind of remark, counted."""

    kind: str  # stable, for scripts: "mask", "list_in_cell"
    count: int
    detail: str  # what was done, for people; the same for any count, as it is printed before it
    examples: tuple[str, ...] = ()  # the first ones
    parts: Mapping[str, int] = field(default_factory=dict)  # the count by sub-kind, where there are any: ".psd": 2

    def to_text(self) -> str:
        """One line: "masks beside images, not read: 12 (0.seg.png, 1.seg.png, 2.seg.png, ...)"."""
        if self.parts:
            counts = sorted(self.parts.items(), key=lambda item: (-item[1], item[0]))
            return f"{self.detail}: {self.count:,} ({', '.join(f'{count:,} {part}' for part, count in counts)})"
        more = ", ..." if self.count > len(self.examples) else ""
        named = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.detail}: {self.count:,}{named}"


def cut_note(
    texts: Sequence[str], count: Callable[[Sequence[str]], list[int]], most: int | None, what: str = "texts"
) -> tuple[Note, ...]:
    """A note on texts of more tokens than are read, where there are any.

    Args:
        texts: all of them; equal ones are counted each.
        count: gives the tokens of each text before any cut.
        most: tokens that are read; None for all.
        what: the texts, in words.
    """
    if most is None:
        return ()
    distinct = list(dict.fromkeys(texts))
    tokens = dict(zip(distinct, count(distinct), strict=True))
    cut = [text for text in texts if tokens[text] > most]
    examples = tuple(f"{' '.join(text[:40].split())}..." for text in dict.fromkeys(cut))[:EXAMPLES]
    return (Note(CUT, len(cut), f"{what} cut after {most} tokens", examples),) if cut else ()


class Notes:
    """Collects notes. Remarks of one kind and detail are counted together, in the order in which they first came."""

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._parts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._named: set[tuple[str, str, str]] = set()
        self.extend(notes)

    def add(self, kind: str, detail: str, *examples: str, count: int = 1, part: str = "") -> None:
        """Count a remark, under its `part` too if it has one; the first few distinct examples are kept."""
        key = (kind, " ".join(detail.split()))
        self._counts[key] += count
        kept = self._examples[key]
        if part:
            self._parts[key][part] += count
        for example in examples:
            if len(kept) < EXAMPLES:
                kept[" ".join(example.split()).encode("utf-8", "backslashreplace").decode()] = None

    def name(self, kind: str, detail: str, name: str) -> None:
        """Count a remark once for each name, such as that of a column, however often it comes up."""
        if (kind, detail, name) not in self._named:
            self._named.add((kind, detail, name))
            self.add(kind, detail, name)

    def extend(self, notes: Iterable[Note]) -> None:
        """Add the counts of other notes."""
        for note in notes:
            self.add(note.kind, note.detail, *note.examples, count=note.count)
            self._parts[note.kind, note.detail].update(note.parts)

    def __iter__(self) -> Iterator[Note]:
        """The notes so far."""
        counts = list(self._counts.items())
        return iter([Note(key[0], n, key[1], tuple(self._examples[key]), dict(self._parts[key])) for key, n in counts])

    def __len__(self) -> int:
        return len(self._counts)


def notes_json(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """JSON-ready."""
    return [asdict(note) for note in notes]


def note_lines(notes: Iterable[Note]) -> list[str]:
    """A line each, as every command prints them."""
    return [f"note: {note.to_text()}" for note in notes]
