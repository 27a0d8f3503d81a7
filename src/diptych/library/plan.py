"""What is new, changed, moved or gone: the library's knowledge against what was found."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace

from diptych.core.errors import DataError
from diptych.core.types import ImageRef

from .names import unescape
from .rows import content_of, is_owned
from .sources import Found, Survey
from .store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """What the library remembers of a row, without its vector."""

    id: str
    path: str
    source: str
    content: str
    bytes: int
    modified_ns: int
    digest: str

    def is_same_file(self, found: Found) -> bool:
        """Whether size and time say that the file was not touched."""
        return self.bytes == found.bytes and self.modified_ns == found.modified_ns

    def is_described_so(self, found: Found) -> bool:
        """Whether the source says nothing new."""
        return not found.described or self.digest == found.digest


class Knowledge:
    """All known rows by path and by content, and which of them a run may move or remove."""

    def __init__(self, store: Store, survey: Survey) -> None:
        self.by_path: dict[str, Known] = {}
        self.by_content: defaultdict[str, list[Known]] = defaultdict(list)
        self.ids: set[str] = set()
        self._deleted: set[tuple[str, str]] = set()  # (path or source, content) of what somebody put into the trash
        for block in store.scan(["id", "path", "source", "content"], "trash"):
            self.ids.update(block["id"])
            self._deleted.update(zip(block["path"], block["content"], strict=True))
            self._deleted.update(zip(block["source"], block["content"], strict=True))
        columns = ["id", "path", "source", "content", "bytes", "modified_ns", "digest"]
        for block in store.scan(columns):
            for values in zip(*(block[name] for name in columns), strict=True):
                self.remember(Known(*values))
        self._survey = survey
        self.renamed: set[str] = set()  # ids of rows whose picture has another name in its tar or table now
        left_over = self._follow_contents()
        self.gone = {known.id for known in self.by_path.values() if self._is_gone(known)} | left_over

    def remember(self, known: Known) -> None:
        """Add or replace a row, once it is on its way to the store."""
        old = self.by_path.get(known.path)
        if old is not None:
            self.by_content[old.content].remove(old)
        self.by_path[known.path] = known
        self.by_content[known.content].append(known)
        self.ids.add(known.id)

    def forget(self, known: Known) -> None:
        """Drop a row that the run removes, so that nothing is copied from it any more."""
        del self.by_path[known.path]
        self.by_content[known.content].remove(known)

    def is_deleted(self, found: Found, content: str) -> bool:
        """Whether somebody put this picture into the trash, where it is to stay."""
        if (found.path, content) in self._deleted:
            return True
        known = self.by_path.get(found.path)
        is_known = known is not None and known.content == content
        return found.is_inside and not is_known and (found.source, content) in self._deleted

    def _follow_contents(self) -> set[str]:
        """Give rows of pictures inside tars and tables the name that their picture has now.

        Names there are labels and numbers of rows, which may come to stand for another picture when rows are put
        in before them. So a picture is told by its content first, by its name only where its content is new.
        Returns the ids of rows whose name another row's picture took while their own is nowhere any more.
        """
        known_of: defaultdict[str, list[Known]] = defaultdict(list)
        for known in self.by_path.values():
            known_of[known.source].append(known)
        found_of: defaultdict[str, list[Found]] = defaultdict(list)
        for found in self._survey.found.values():
            if found.is_inside and found.source in known_of:
                found_of[found.source].append(found)
        left_over: set[str] = set()
        for source, there in found_of.items():
            if _may_have_shifted(known_of[source], there):
                left_over |= self._follow(known_of[source], there)
        return left_over

    def _follow(self, known: list[Known], there: list[Found]) -> set[str]:
        contents = {found.path: found.content or _content(found.ref) for found in there}
        waiting: defaultdict[str, list[Known]] = defaultdict(list)
        for one in known:
            if contents.get(one.path) != one.content:
                waiting[one.content].append(one)
        renamed = []
        for path, content in contents.items():
            own = self.by_path.get(path)
            if (own is None or own.content != content) and waiting.get(content):
                renamed.append(replace(waiting[content].pop(0), path=path, modified_ns=-1))
        by_id = {one.id: one for one in known}
        for one in renamed:
            self.forget(by_id[one.id])
        left_over = {self.by_path[one.path].id for one in renamed if one.path in self.by_path}
        for one in renamed:
            self.remember(one)
            self.renamed.add(one.id)
        return left_over

    def take_moved(self, content: str) -> Known | None:
        """A row of this content whose file is no longer where it was; it will not be offered again."""
        for known in self.by_content[content]:
            if is_owned(known.path):
                continue  # an upload of the same content has not moved
            elsewhere = known.path not in self._survey.found and not _exists(known.path)
            if known.id in self.gone or elsewhere:
                self.gone.discard(known.id)
                self.forget(known)
                return known
        return None

    def _is_gone(self, known: Known) -> bool:
        survey = self._survey
        if known.path in survey.found or _under(known.path, survey.unreadable):
            return False
        if known.source in survey.sources and known.source not in survey.folders:
            return True  # the list no longer has it
        return _under(known.path, survey.folders) and not _exists(known.path)


def _may_have_shifted(known: list[Known], there: list[Found]) -> bool:
    """False when nobody touched the tar since; contents that have been read already cost nothing to compare."""
    paths = {one.path for one in known}
    touched = {one.modified_ns for one in known} != {one.modified_ns for one in there}
    return touched or any(found.content or found.path not in paths for found in there)


def _content(ref: ImageRef) -> str:
    try:
        with ref.open() as opened:
            return content_of(opened.read())
    except (DataError, OSError):
        return ""  # named as skipped when it is its turn


def _under(path: str, folders: list[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _exists(path: str) -> bool:
    """Whether the file, or the container that holds it, is there (a dangling link counts as not there)."""
    name = unescape(path)
    # os.path, because Path.exists raises on a folder that may not be entered
    return os.path.exists(name) or ("::" in name and os.path.exists(name.partition("::")[0]))  # noqa: PTH110
