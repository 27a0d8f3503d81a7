"""What a reader gets: where to read, the options, and where to note what was left out or guessed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from diptych.core.errors import Reason
from diptych.core.notes import Notes
from diptych.core.text import is_blank, is_unicode, plain
from diptych.core.types import Skipped, Text

from .options import SourceOptions

# What programs write in place of a missing text.
_NOTHING = frozenset(["none", "nan", "null", "<na>", "na", "n/a", "nat", "undefined"])
WORDS_FOR_NOTHING = "texts that may stand for a missing one (None, nan, null, ...), read as texts"


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over one source."""

    path: Path
    options: SourceOptions
    skipped: list[Skipped] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    columns: dict[str, None] = field(default_factory=dict)  # those of the tables, in the order they came up

    def skip(self, name: str, reason: Reason, detail: str) -> None:
        """Note an input that is left out; the detail becomes one line."""
        self.skipped.append(Skipped(plain(name), reason, plain(" ".join(detail.split()))))

    def note(self, kind: str, detail: str, *examples: str) -> None:
        """Count a remark on how the source was read; see `diptych.core.notes`."""
        self.notes.add(kind, detail, *examples)

    def texts(
        self, where: str, values: Iterable[str], *, lang: str | None = None, field: str = "caption"
    ) -> list[Text]:
        """The usable texts among `values`; empty ones and broken Unicode are skipped as `where`."""
        found = []
        for value in values:
            cleaned = value.strip().removeprefix("\ufeff").strip()
            if not cleaned:
                self.skip(where, Reason.EMPTY_TEXT, f"empty {field}")
            elif is_blank(cleaned):
                self.skip(where, Reason.EMPTY_TEXT, f"{field} holds only invisible characters")
            elif not is_unicode(cleaned):
                self.skip(where, Reason.BAD_ROW, f"{field} is not valid Unicode: {cleaned[:60]}")
            else:
                if cleaned.casefold() in _NOTHING:
                    self.note("word_for_nothing", WORDS_FOR_NOTHING, where)
                found.append(Text(cleaned, lang or self.options.lang, field))
        return found
