"""What a library has before a run: its live rows, what somebody deleted, and what comes back when it is found again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diptych.library.sources import FoundImage
from diptych.library.store.protocol import Part, Store, cells
from diptych.library.store.rows import is_owned, new_id
from diptych.library.store.trash import is_of_gone


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A row without its vector."""

    id: str
    path: str
    source: str
    content: str
    bytes: int
    modified_ns: int
    digest: str
    batch: str | None = None

    def is_untouched(self, size: int, modified_ns: int) -> bool:
        """Whether the size and time of its file are still those that were indexed."""
        return (self.bytes, self.modified_ns) == (size, modified_ns)


class KnownRows:
    """Rows of one kind, read once. `is_of_kind` says which; the ids are those of all rows.

    `paths` are held already: paths that are equal to one of them are not held twice.
    """

    def __init__(
        self,
        store: Store,
        is_of_kind: Callable[[KnownRow], bool] = lambda row: True,
        paths: Mapping[str, FoundImage] = MappingProxyType({}),
    ) -> None:
        self.ids: set[str] = set()
        self.live: list[KnownRow] = []
        self.deleted: list[KnownRow] = []  # what somebody put into the trash: it stays there
        self.returning: defaultdict[str, list[KnownRow]] = defaultdict(list)  # by content: what indexing put there
        for row in _scanned(store, "live", paths):
            self.ids.add(row.id)
            if is_of_kind(row):
                self.live.append(row)
        for row in _scanned(store, "trash", paths):
            self.ids.add(row.id)
            if is_of_kind(row) and is_of_gone(row.batch) and not is_owned(row.path):
                self.returning[row.content].append(row)
            elif is_of_kind(row):
                self.deleted.append(row)
        self.deleted_at = {(place, row.content) for row in self.deleted for place in (row.path, row.source)}

    def given_id(self, path: str, content: str) -> str:
        """An id for a new row, never one in use."""
        identifier = new_id(path, content, self.ids)
        self.ids.add(identifier)
        return identifier

    def take_returned(self, path: str, source: str, content: str, *, moved: bool = True) -> KnownRow | None:
        """A row of this content that indexing put into the trash: of this path, else, if `moved`, of any other."""
        waiting = [row for row in self.returning[content] if moved or row.path == path]
        if not waiting:
            return None
        found = min(waiting, key=lambda row: (row.path != path, row.source != source))
        self.returning[content].remove(found)
        return found


def _scanned(store: Store, part: Part, paths: Mapping[str, FoundImage]) -> Iterator[KnownRow]:
    """The rows; of equal paths, sources and digests, which many rows share, one copy is held."""
    names = ("id", "path", "source", "content", "bytes", "modified_ns", "digest", "batch")
    shared: dict[str, str] = {}
    for identifier, path, source, content, size, modified_ns, digest, batch in cells(store, *names, part=part):
        found = paths.get(path)
        yield KnownRow(
            identifier,
            path if found is None else found.path,
            shared.setdefault(source, source),
            content,
            size,
            modified_ns,
            shared.setdefault(digest, digest),
            batch,
        )
