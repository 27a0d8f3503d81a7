"""Changes to a library while it is served. Images that are added together become one durable write.

Each change has its own result: one that cannot be made harms no other. Deletions go to the library's
trash and can be taken back until the trash is purged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from diptych.core.errors import DataError, DiptychError, Reason
from diptych.library import Library, NewItem
from diptych.library.items import KEEP, check_described

from . import errors
from .errors import ServeError

_WAIT = 2.0  # seconds for another program's write; then the client is asked to come back


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the ids it was about, and for a deletion the token that takes it back."""

    ids: tuple[str, ...]
    created: bool = False
    undo: str | None = None


# an image to add (`prepared`: decoded and embedded), or one of the changes below
Change = NewItem | Callable[[Library], Changed]


def describe(identifier: str, meta: Mapping[str, Any], texts: tuple[str, ...] | None) -> Change:
    """New metadata for an image: keys given as None go, others stay; `texts` None leaves them."""

    def change(library: Library) -> Changed:
        try:
            library.patch(identifier, meta=meta, texts=KEEP if texts is None else texts, wait=_WAIT)
        except DataError as error:
            raise errors.no_item(identifier) if error.reason is Reason.MISSING else error from error
        return Changed((identifier,))

    return change


def delete(ids: Sequence[str]) -> Change:
    """Put images into the trash, by id. What cannot be found is left out of the count."""

    def change(library: Library) -> Changed:
        deletion = library.delete(ids, wait=_WAIT)
        return Changed(deletion.ids, undo=deletion.batch if deletion.ids else None)

    return change


def undo(token: str) -> Change:
    """Take a deletion back."""

    def change(library: Library) -> Changed:
        try:
            return Changed(tuple(library.undo(token, wait=_WAIT).restored))
        except DataError as error:
            raise ServeError(404, "cannot_undo", "the trash has no such deletion (any more)",
                             "It was taken back already, or purged.") from error  # fmt: skip

    return change


def apply(library: Library, changes: Sequence[Change]) -> list[Changed | BaseException]:
    """Make the changes, in order; durable on return. One that cannot be made has its exception in its place.

    One thread calls it.
    """
    results: list[Changed | BaseException] = []
    for _, group in groupby(changes, lambda change: isinstance(change, NewItem)):
        together = list(group)
        results += _added(library, [change for change in together if isinstance(change, NewItem)])
        results += [_tried(library, change) for change in together if not isinstance(change, NewItem)]
    return results


def _added(library: Library, items: Sequence[NewItem]) -> list[Changed | BaseException]:
    """All in one write, except those whose description cannot be kept."""
    refusals = [_refusal(item) for item in items]
    good = [item for item, refusal in zip(items, refusals, strict=True) if refusal is None]
    if not good:
        return [refusal for refusal in refusals if refusal is not None]
    try:
        added = library.add(good, wait=_WAIT)
    except DiptychError as error:
        return [refusal or error for refusal in refusals]
    fresh = {*added.created, *added.restored}
    made = iter(added.items)
    results: list[Changed | BaseException] = []
    for refusal in refusals:
        if refusal is None:
            identifier = next(made).id
            results.append(Changed((identifier,), created=identifier in fresh))
            fresh.discard(identifier)  # sent twice at once: created once
        else:
            results.append(refusal)
    return results


def _tried(library: Library, change: Callable[[Library], Changed]) -> Changed | BaseException:
    try:
        return change(library)
    except DiptychError as error:
        return error


def _refusal(item: NewItem) -> DiptychError | None:
    try:
        check_described(item.name, item.texts, item.split, item.group, item.meta)
    except DiptychError as error:
        return error
    return None
