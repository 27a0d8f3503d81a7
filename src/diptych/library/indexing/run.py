"""What every indexing run does alike, whether it brings images, texts or moments of videos up to date."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from diptych.core.errors import Interrupted
from diptych.core.notes import Note, Notes
from diptych.core.types import Skipped
from diptych.library.descriptions import is_touched, kept
from diptych.library.rendering.thumbnails import Thumbnails
from diptych.library.store.protocol import Store
from diptych.library.store.rows import Row
from diptych.library.store.trash import Batch

from .report import IndexReport, Kept

KEPT_DESCRIPTION = "kept_description"  # of a note
KEPT_DETAIL = "changed since they were indexed; they keep the texts, metadata and names that were given to them here"
_COUNTS = ("added", "updated", "moved", "unchanged", "removed", "embedded", "trashed", "restored")


class IndexRun:
    """The counts, notes and writes of one run. The caller holds the writer lock."""

    unit = "images"

    def __init__(
        self, store: Store, thumbnails: Thumbnails, skipped: Iterable[Skipped] = (), notes: Iterable[Note] = ()
    ) -> None:
        self.store, self.thumbnails = store, thumbnails
        self.counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))
        self.skipped, self.notes = list(skipped), Notes(notes)
        self._gone = Batch.of_gone()  # one deletion for all that the run does not find any more
        self._replaced: set[str] = set()  # contents that rows had before the run
        self._durable = 0  # rows of this run
        self._started = time.monotonic()

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """One durable write: rows that are new or changed, and others, by their ids, into the trash."""
        gone = self.store.get(remove)
        self.thumbnails.flush()
        self.store.write([*rows, *self._gone.put_on(gone)])
        self._durable += len(rows)
        self.counts["removed"] += len(gone)

    def in_place_of(self, former: Row, row: Row, *, source_speaks: bool = True) -> Row:
        """A row with the description that people gave the one it replaces; a note says where the content is another."""
        if former.content != row.content:
            self._replaced.add(former.content)
            if is_touched(former):
                self.notes.add(KEPT_DESCRIPTION, KEPT_DETAIL, row.path)
        return kept(row, former, source_speaks=source_speaks)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A KeyboardInterrupt becomes an Interrupted that says how much is durable."""
        try:
            yield
        except KeyboardInterrupt as stop:
            raise Interrupted(f"{self._durable} {self.unit} of this run are in the library and stay there") from stop

    def report(self, kept: Iterable[Kept]) -> IndexReport:
        """What was done; thumbnails that no row needs any more go."""
        self.thumbnails.remove_unused(self._replaced, self.store)
        return IndexReport(
            **self.counts,
            skipped=tuple(self.skipped),
            seconds=time.monotonic() - self._started,
            notes=tuple(self.notes),
            kept=tuple(kept),
            batch=self._gone.name if self.counts["removed"] else None,
        )
