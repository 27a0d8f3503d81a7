"""From rows back to their images: read again from where they were indexed."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diptych.core.errors import DiptychError
from diptych.core.file_names import unescape
from diptych.core.types import BytesImage, ImageRef
from diptych.data.cache import bytes_of
from diptych.library.store.protocol import Store, cells
from diptych.library.store.rows import content_of, is_owned, location
from diptych.library.uploads import uploads_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image to be read again."""

    id: str
    path: str
    content: str


def read_again(wanted: Iterable[Wanted], folder: Path) -> Iterator[tuple[Wanted, BytesImage | None]]:
    """Each image with its encoded bytes, or None when they are gone or no longer the same; the order may differ."""
    for one, ref in located(wanted, folder):
        yield one, None if ref is None else _unchanged(ref, one)


def located(wanted: Iterable[Wanted], folder: Path) -> Iterator[tuple[Wanted, ImageRef | None]]:
    """Each image with where it should be, unread, or None where a tar or a table lacks it; the order may differ."""
    inside: defaultdict[str, dict[str, Wanted]] = defaultdict(dict)  # file that holds it -> path -> image
    uploads = uploads_of(folder)
    for one in wanted:
        where = location(one.path, folder)
        name = unescape(where)
        if _is_inside(name):
            inside[name.partition("::")[0]][one.path] = one
        else:
            yield one, uploads.image(where)
    for container, ones in inside.items():
        for path, ref in _members(container, set(ones)):
            yield ones[path], ref


def references(store: Store, folder: Path, others: Counter[str]) -> Iterator[tuple[ImageRef, str]]:
    """A reference to every image and moment of the library in `folder`, and its content; texts are counted.

    Images inside tars and tables are found through the sources that they came from. For an image that cannot be found
    any more the reference has no bytes, so that readers skip and name it.
    """
    from diptych.data.images import as_ref

    from .kinds import TEXT_SOURCE, moment_of, video_of

    inside: defaultdict[str, dict[str, str]] = defaultdict(dict)  # source -> path -> content
    for path, content, source in cells(store, "path", "content", "source"):
        name = unescape(location(path, folder))
        if source.startswith(TEXT_SOURCE):
            others["texts"] += 1
        elif video_of(path):
            yield moment_of(name), content
        elif is_owned(path):
            yield uploads_of(folder).image(location(path, folder)), content
        elif _is_inside(name):
            inside[source][path] = content
        else:
            yield as_ref(Path(name)), content
    for source, contents in inside.items():
        for path, ref in _members(unescape(source), set(contents)):
            yield ref or BytesImage(b"", path), contents[path]


def _is_inside(name: str) -> bool:
    """Whether an image is part of a tar or a table."""
    return "::" in name and not os.path.exists(name)  # noqa: PTH110 - takes every name


def _members(source: str, left: set[str]) -> Iterator[tuple[str, ImageRef | None]]:
    """Images inside a tar or a table, by their paths; found by reading it as `index` did. None for one that is gone."""
    from .sources import survey

    try:
        for found in survey([source]).images():
            if found.path in left:
                left.remove(found.path)
                yield found.path, found.ref
    except (DiptychError, OSError):  # it is gone, or was read with a format of its own
        pass
    for path in left:
        yield path, None


def _unchanged(ref: ImageRef, one: Wanted) -> BytesImage | None:
    data = bytes_of(ref)
    return None if data is None or content_of(data) != one.content else BytesImage(data, one.path)
