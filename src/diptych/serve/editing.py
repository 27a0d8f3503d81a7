"""Changes to a library while it is served. What is added together becomes one durable write.

Each change has its own result: one that cannot be made harms no other. Deletions go to the library's
trash and can be taken back until somebody purges it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from diptych.core.errors import DataError, DiptychError, Reason
from diptych.library import Library, NewItem
from diptych.library.items import KEEP, check_described

from . import errors
from .errors import ServeError

_WAIT = 2.0  # seconds for another program's write; then the client is asked to come back


@dataclass(frozen=True, slots=True)
class Add:
    """An image that was uploaded, decoded and embedded: `item.prepared` is there."""

    item: NewItem


@dataclass(frozen=True, slots=True)
class Describe:
    """New metadata for an image: keys given as None go, others stay; `texts` None leaves them."""

    id: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Put images into the trash, by id. What cannot be found is left out of the count."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Undo:
    """Take a deletion back."""

    token: str


Change = Add | Describe | Delete | Undo


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the ids it was about, and for a deletion the token that takes it back."""

    ids: tuple[str, ...]
    created: bool = False
    undo: str | None = None


class Editor:
    """Applies changes to one library. One thread calls `apply`."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def apply(self, changes: Sequence[Change]) -> list[Changed | BaseException]:
        """Make the changes, in order; durable on return. One that cannot be made has its exception in its place."""
        results: list[Changed | BaseException] = []
        for kind, group in groupby(changes, type):
            if kind is Add:
                results += self._add_all([change.item for change in group if isinstance(change, Add)])
            else:
                results += [self._tried(change) for change in group]
        return results

    def _add_all(self, items: Sequence[NewItem]) -> list[Changed | BaseException]:
        """All in one write, except those whose description cannot be kept."""
        refused = {at: error for at, item in enumerate(items) if (error := _refusal(item)) is not None}
        good = [item for at, item in enumerate(items) if at not in refused]
        try:
            added = self._library.add(good, wait=_WAIT) if good else None
        except DiptychError as error:
            return [refused.get(at, error) for at in range(len(items))]
        fresh = set() if added is None else {*added.created, *added.restored}
        made = iter(() if added is None else added.items)
        results: list[Changed | BaseException] = []
        for at in range(len(items)):
            if at in refused:
                results.append(refused[at])
                continue
            identifier = next(made).id
            results.append(Changed((identifier,), created=identifier in fresh))
            fresh.discard(identifier)  # sent twice at once: created once
        return results

    def _tried(self, change: Change) -> Changed | BaseException:
        try:
            if isinstance(change, Describe):
                return self._describe(change)
            if isinstance(change, Delete):
                return self._delete(change)
            return self._undo(change) if isinstance(change, Undo) else self._add_all([change.item])[0]
        except DiptychError as error:
            return error

    def _describe(self, change: Describe) -> Changed:
        texts = KEEP if change.texts is None else change.texts
        try:
            self._library.patch(change.id, meta=change.meta, texts=texts, wait=_WAIT)
        except DataError as error:
            raise errors.no_item(change.id) if error.reason is Reason.MISSING else error from error
        return Changed((change.id,))

    def _delete(self, change: Delete) -> Changed:
        deletion = self._library.delete(change.ids, wait=_WAIT)
        return Changed(deletion.ids, undo=deletion.batch if deletion.ids else None)

    def _undo(self, change: Undo) -> Changed:
        try:
            return Changed(tuple(self._library.undo(change.token, wait=_WAIT).restored))
        except DataError as error:
            raise ServeError(404, "cannot_undo", "the trash has no such deletion (any more)",
                             "It was taken back already, or purged.") from error  # fmt: skip


def _refusal(item: NewItem) -> DiptychError | None:
    try:
        check_described(item.name, item.texts, item.split, item.group, item.meta)
    except DiptychError as error:
        return error
    return None
