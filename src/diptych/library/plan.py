"""What is new, changed, moved or gone: the library's knowledge against what was found."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass

from .names import unescape
from .rows import is_owned
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
        self.deleted: set[tuple[str, str]] = set()  # (path, content) of what somebody put into the trash
        for block in store.scan(["id", "path", "content"], "trash"):
            self.ids.update(block["id"])
            self.deleted.update(zip(block["path"], block["content"], strict=True))
        columns = ["id", "path", "source", "content", "bytes", "modified_ns", "digest"]
        for block in store.scan(columns):
            for values in zip(*(block[name] for name in columns), strict=True):
                self.remember(Known(*values))
        self._survey = survey
        self.gone = {known.id for known in self.by_path.values() if self._is_gone(known)}

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


def _under(path: str, folders: list[str]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _exists(path: str) -> bool:
    """Whether the file, or the container that holds it, is there (a dangling link counts as not there)."""
    name = unescape(path)
    # os.path, because Path.exists raises on a folder that may not be entered
    return os.path.exists(name) or ("::" in name and os.path.exists(name.partition("::")[0]))  # noqa: PTH110
