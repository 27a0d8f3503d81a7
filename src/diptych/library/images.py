"""The pictures behind rows: opened where they lie, as long as they are still what was indexed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diptych.core.errors import DataError
from diptych.core.file_names import unescape
from diptych.core.types import BytesImage
from diptych.data.cache import bytes_of
from diptych.library.store.rows import content_of, location


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture to be looked at again."""

    id: str
    path: str
    content: str


def originals(wanted: Iterable[Wanted], folder: Path) -> Iterator[tuple[Wanted, BytesImage | None]]:
    """Each picture with its encoded bytes, or None when they are gone or no longer the same; order may differ."""
    inside: dict[str, list[Wanted]] = {}
    for one in wanted:
        name = unescape(location(one.path, folder))
        container = name.partition("::")[0]
        if "::" in name and not os.path.exists(name):  # noqa: PTH110
            inside.setdefault(container, []).append(one)
        else:
            yield one, _same(_read(name), one)
    for container, ones in inside.items():
        yield from _members(container, ones)


def _read(name: str) -> bytes | None:
    try:
        with open(name, "rb") as stream:  # noqa: PTH123 - takes every name
            return stream.read()
    except (OSError, ValueError):
        return None


def _same(data: bytes | None, one: Wanted) -> BytesImage | None:
    return BytesImage(data, one.path) if data is not None and content_of(data) == one.content else None


def _members(container: str, ones: list[Wanted]) -> Iterator[tuple[Wanted, BytesImage | None]]:
    """Pictures inside a tar or a table, found by reading it as `index` did."""
    from diptych.library.indexing.sources import survey

    waiting = {one.path: one for one in ones}
    try:
        for found in survey([container]).pictures():
            one = waiting.pop(found.path, None)
            if one is not None:
                yield one, _same(bytes_of(found.ref), one)
    except (DataError, OSError):
        pass
    for one in waiting.values():
        yield one, None
