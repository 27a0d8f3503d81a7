"""From rows back to the pictures themselves, for what has to look at them once more."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import DiptychError
from diptych.core.file_names import unescape
from diptych.core.types import BytesImage, FileImage, ImageRef
from diptych.data.video import SUFFIXES as VIDEOS
from diptych.library.indexing.sources import survey
from diptych.library.indexing.texts import MARK as TEXTS
from diptych.library.store.protocol import Store
from diptych.library.store.rows import location


def pictures_of(store: Store, folder: Path, others: Counter[str]) -> Iterator[tuple[ImageRef, str]]:
    """Every picture of the library in `folder` with its content fingerprint; rows of other kinds are counted.

    Pictures inside tars and tables are found through the sources that they came from; of one that
    cannot be found any more comes a reference to nothing, which readers skip and name.
    """
    inside: dict[str, dict[str, str]] = {}  # source -> path -> content
    for block in store.scan(["path", "content", "source"]):
        for path, content, source in zip(block["path"], block["content"], block["source"], strict=True):
            name = unescape(location(path, folder))
            if source.startswith(TEXTS) or _is_moment(path):
                others["texts" if source.startswith(TEXTS) else "moments of videos"] += 1
                continue
            if "::" in name and not os.path.exists(name):  # noqa: PTH110 - takes every name
                inside.setdefault(source, {})[path] = content
            else:
                yield FileImage(Path(name)), content
    for source, wanted in inside.items():
        yield from _inside(source, wanted)


def _is_moment(path: str) -> bool:
    video, colons, _ = path.rpartition("::")
    return bool(colons) and os.path.splitext(unescape(video))[1].lower() in VIDEOS  # noqa: PTH122


def _inside(source: str, wanted: dict[str, str]) -> Iterator[tuple[ImageRef, str]]:
    left = dict(wanted)
    try:
        for found in survey([unescape(source)]).pictures():
            if found.path in left:
                yield found.ref, left.pop(found.path)
    except DiptychError:  # the source is gone, or was read with a format of its own
        pass
    for path, content in left.items():
        yield BytesImage(b"", path), content
