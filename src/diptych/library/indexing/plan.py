"""What is new, changed, moved, back or gone: the library's rows compared with the images that were found."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from diptych.core.errors import DataError
from diptych.core.types import ImageRef
from diptych.library.kinds import content_of_ref
from diptych.library.sources import FoundImage, Survey
from diptych.library.store.protocol import Store
from diptych.library.store.rows import BROUGHT_BACK, is_owned

from .absent import Absences, exists
from .known_rows import KnownRow, KnownRows
from .report import UNDONE, Kept, kept_by_folder


class ImagePlan(KnownRows):
    """The known rows by path and by content, and which of them a run may move, bring back or remove.

    Rows that are not found and whose folder or list is away as a whole are kept, unless `prune` says to remove them.
    """

    def __init__(self, store: Store, survey: Survey, *, prune: bool = False) -> None:
        super().__init__(store, paths=survey.found)
        self.by_path: dict[str, KnownRow] = {}
        self.by_content: defaultdict[str, list[KnownRow]] = defaultdict(list)
        for row in self.live:
            self.put(row)
        self._survey = survey
        self._absences = Absences()
        self.renamed: set[str] = set()  # ids of rows whose image has another name in its tar or table now
        self.gone = self._follow_contents()  # ids
        self._kept: dict[str, tuple[str, tuple[str, str]]] = {}  # id -> path; the folder that is away, and why
        for row in self.by_path.values():
            if self._is_missed(row):
                away = None if prune else self._away(row)
                if away is None:
                    self.gone.add(row.id)
                else:
                    self._kept[row.id] = (row.path, away)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The rows that stay although they are not found, by the folder that is away."""
        return kept_by_folder(self._kept.values())

    def put(self, row: KnownRow) -> None:
        """Add or replace a row, once it is on its way to the store."""
        old = self.by_path.get(row.path)
        if old is not None:
            self.by_content[old.content].remove(old)
        self.by_path[row.path] = row
        self.by_content[row.content].append(row)
        self.ids.add(row.id)

    def contents(self) -> set[str]:
        """Of all rows that a run may reuse, or that somebody deleted."""
        known = {content for content, rows in self.by_content.items() if rows}
        return known | self.returning.keys() | {row.content for row in self.deleted}

    def drop(self, row: KnownRow) -> None:
        """Take out a row that the run removes, so that nothing is copied from it any more."""
        del self.by_path[row.path]
        self.by_content[row.content].remove(row)

    def is_unchanged(self, found: FoundImage) -> bool:
        """Whether nobody touched the file, and its source says nothing new."""
        row = self.by_path.get(found.path)
        return row is not None and _is_same_file(row, found) and is_described_so(row, found)

    def is_deleted(self, found: FoundImage, content: str) -> bool:
        """Whether somebody put this image into the trash, where it is to stay."""
        row = self.by_path.get(found.path)
        if row is not None:
            return row.content == content and (found.path, content) in self.deleted_at
        return (found.path, content) in self.deleted_at or (
            found.is_inside and (found.source, content) in self.deleted_at
        )

    def id_for(self, found: FoundImage, content: str) -> str:
        """The id of the row at its path, else a new one."""
        row = self.by_path.get(found.path)
        return self.given_id(found.path, content) if row is None else row.id

    def _follow_contents(self) -> set[str]:
        """Give rows the name that their image has now.

        Names inside tars and tables are labels or row numbers. They may stand for another image once rows were put in
        before them; files may be numbered again. So an image is recognised by its content first, and by its name only
        where its content is new.
        Returns the ids of rows whose name another row's image took, and whose own image is not found any more.
        """
        known_of: defaultdict[str, list[KnownRow]] = defaultdict(list)
        for known in self.by_path.values():
            known_of[known.source].append(known)
        found_of: defaultdict[str, list[FoundImage]] = defaultdict(list)
        for found in self._survey.found.values():
            if found.is_inside and found.source in known_of:
                found_of[found.source].append(found)
        left_over: set[str] = set()
        for source, there in found_of.items():
            if _may_have_shifted(known_of[source], there):
                left_over |= self._follow(known_of[source], there)
        return left_over | self._follow_files()

    def _follow_files(self) -> set[str]:
        """The same for files that took each other's names: swapped, numbered again, or one moved over another.

        Of files that nobody touched nothing is read, and of the others only those as long as an image that is missed.
        """
        files = [found for found in self._survey.found.values() if not found.is_inside]
        of_path = {found.path: self.by_path.get(found.path) for found in files}
        touched = [known for found in files if (known := of_path[found.path]) and not _is_same_file(known, found)]
        if not touched:
            return set()
        touched += [known for known in self.by_path.values() if not is_owned(known.path) and self._is_missed(known)]
        lengths = {known.bytes for known in touched}
        there = [
            found
            for found in files
            if found.bytes in lengths and ((known := of_path[found.path]) is None or not _is_same_file(known, found))
        ]
        return self._follow(touched, there)

    def _follow(self, known: list[KnownRow], there: list[FoundImage]) -> set[str]:
        contents = {found.path: found.content or content_or_nothing(found.ref) for found in there}
        waiting: defaultdict[str, list[KnownRow]] = defaultdict(list)
        for one in known:
            if contents.get(one.path) != one.content:
                waiting[one.content].append(one)
        renamed = []
        for path, content in contents.items():
            own = self.by_path.get(path)
            if (own is None or own.content != content) and waiting.get(content):
                renamed.append(replace(waiting[content].pop(0), path=path, modified_ns=-1))
        by_id = {one.id: one for one in known}
        taken = {one.path for one in renamed}
        renamed = [one for one in renamed if not self._is_set_aside(by_id[one.id], one.path, taken)]
        for one in renamed:
            self.drop(by_id[one.id])
        left_over = {self.by_path[one.path].id for one in renamed if one.path in self.by_path}
        for one in renamed:
            self.put(one)
            self.renamed.add(one.id)
        return left_over

    def _is_set_aside(self, known: KnownRow, path: str, taken: set[str]) -> bool:
        """Whether a file was edited in place and `path`, a new one, has its former bytes, as a backup does."""
        found = self._survey.found.get(known.path)
        return found is not None and not found.is_inside and path not in self.by_path and known.path not in taken

    def take_moved(self, content: str) -> KnownRow | None:
        """A row of this content whose file is no longer where it was; it will not be offered again."""
        for known in self.by_content[content]:
            if is_owned(known.path):
                continue  # an upload of the same content has not moved
            elsewhere = known.path not in self._survey.found and not exists(known.path)
            if known.id in self.gone or elsewhere:
                self.gone.discard(known.id)
                self._kept.pop(known.id, None)
                self.drop(known)
                return known
        return None

    def _is_missed(self, known: KnownRow) -> bool:
        """Whether a row belongs to what was named, and is not there."""
        survey = self._survey
        if known.path in survey.found or _under(known.path, survey.unreadable):
            return False
        if known.source in survey.missing or _under(known.path, survey.missing):
            return True
        if known.source in survey.sources and known.source not in survey.folders:
            return True  # the list no longer has it, or its file is not there
        return _under(known.path, survey.folders) and not exists(known.path)

    def _away(self, known: KnownRow) -> tuple[str, str] | None:
        """What keeps a missed row: its list or folder is away, or somebody wants it. None when it is truly gone."""
        for root, reason in self._survey.missing.items():
            if known.source == root or _under(known.path, [root]):
                return root, reason
        if known.batch == BROUGHT_BACK:
            return known.path, UNDONE
        return None if exists(known.path) else self._absences.of(known.path)


def is_described_so(row: KnownRow, found: FoundImage) -> bool:
    """Whether the source says nothing new."""
    return not found.described or row.digest == found.digest


def _is_same_file(row: KnownRow, found: FoundImage) -> bool:
    return row.is_untouched(found.bytes, found.modified_ns) and row.batch is None


def _may_have_shifted(known: list[KnownRow], there: list[FoundImage]) -> bool:
    """False when nobody touched the tar since; contents that have been read already cost nothing to compare."""
    paths = {one.path for one in known}
    touched = {one.modified_ns for one in known} != {one.modified_ns for one in there}
    return touched or any(found.content or found.path not in paths for found in there)


def content_or_nothing(ref: ImageRef) -> str:
    """What the row of an image is known by; "" for one that cannot be read."""
    with contextlib.suppress(DataError, OSError):
        return content_of_ref(ref)
    return ""


def _under(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)
