"""One row of a library: an image at a path, its vector, and what is known about it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import posixpath
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.file_names import escape
from diptych.core.shapes import Float32
from diptych.library.bucket import address_of

TEXT_KIND = "text"  # of the row of a text, in its metadata: for --where
ID_LENGTH = 16  # hex digits
OWNED = "./files/"  # how the path of an image begins whose file the library keeps itself

# What `--where` can ask about every image, whatever its source: column -> kind.
COLUMNS = {
    "id": "text",
    "path": "text",
    "name": "text",
    "folder": "text",
    "suffix": "text",
    "source": "text",
    "content": "text",
    "bytes": "integer",
    "modified": "timestamp",
    "modified_ns": "integer",
    "width": "integer",
    "height": "integer",
    "split": "text",
    "group": "text",
    "texts": "text",
    "meta": "text",
    "digest": "text",
}
# What `--where` can ask about what photos say about themselves (`data.images.Photo`): column -> kind. No metadata gets
# a name in capitals, so these are never mixed up with columns of a source's own. PHOTO_TAKEN is in nanoseconds.
PHOTO = "PHOTO_"
WORDS = f"{PHOTO}WORDS"
PHOTO_COLUMNS = {
    "PHOTO_TAKEN": "timestamp",
    "PHOTO_TAKEN_ZONE": "text",
    "PHOTO_CAMERA": "text",
    "PHOTO_LENS": "text",
    "PHOTO_LATITUDE": "number",
    "PHOTO_LONGITUDE": "number",
    "PHOTO_RATING": "number",
    "PHOTO_TITLE": "text",
    "PHOTO_KEYWORDS": "text",
    WORDS: "text",  # read in the image itself, by `index --ocr`
}
# When a row went into the trash (nanoseconds since 1970, UTC), and in which deletion; null in rows that are not there.
TRASH_COLUMNS = {"deleted_at": "integer", "batch": "text"}
BROUGHT_BACK = "undone"  # as `batch` of a live row: its file was gone, somebody wants the row, indexing leaves it


@dataclass(frozen=True, slots=True)
class Row:
    """One image at one path. The same content at two paths is two rows with the same vector.

    `id` is given when the row is made, and stays when the file moves or is edited. Names and paths are
    in their written form (see `core.file_names`). `content` is the fingerprint of the encoded bytes.
    """

    id: str
    path: str
    source: str  # the folder or file named to `index` that led here
    content: str
    bytes: int
    modified_ns: int  # nanoseconds since 1970, UTC
    width: int  # pixels
    height: int
    vector: Float32[np.ndarray, d] = field(repr=False, compare=False)
    texts: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None  # the name an uploaded image came with; its file is named by the library
    deleted_at: int | None = None  # nanoseconds since 1970, UTC; None unless the row is in the trash
    batch: str | None = None  # the deletion that it went in; or BROUGHT_BACK
    photo: Mapping[str, Any] | None = None  # what the image says about itself; None: it was never asked
    said: Mapping[str, Any] | None = None  # its source's last description, where somebody changed it; empty: unknown

    @property
    def name(self) -> str:
        """What a person calls the image: the name it came with, or the last part of the path."""
        return self.title or self._file_name

    @property
    def folder(self) -> str:
        """The path without its last part."""
        return self.path[: -len(self._file_name)].rstrip("/:") or "/"

    @property
    def suffix(self) -> str:
        """The file name's ending in small letters, with its dot: ".jpg"."""
        return posixpath.splitext(self._file_name)[1].lower()

    @property
    def _file_name(self) -> str:
        return posixpath.basename(self.path.rpartition("::")[2]) or self.path

    @property
    def digest(self) -> str:
        """Changes when the source's description changes; not when people change it."""
        if self.said:
            return description_digest(**self.said)
        return description_digest(self.texts, self.split, self.group, self.meta)

    def summary(self) -> dict[str, Any]:
        """What a search hit says about the image, JSON-ready."""
        facts: dict[str, Any] = {"name": self.name, "width": self.width, "height": self.height}
        if self.texts:
            facts["texts"] = list(self.texts)
        facts |= {key: value for key, value in (("split", self.split), ("group", self.group)) if value is not None}
        return {**self.meta, **facts}


def is_owned(path: str) -> bool:
    """Whether the library keeps this image's file itself: it was uploaded, not indexed where it is."""
    return path.startswith(OWNED)


def location(path: str, folder: Path) -> str:
    """Where a row's image is, in written form: files of the library's own move with its folder, or are objects."""
    if not is_owned(path):
        return path
    return (address_of(folder) or escape(os.path.abspath(folder))) + path[1:]  # noqa: PTH100


def is_below(path: str, root: str) -> bool:
    """Whether a written path is this one, or in this folder or container."""
    return path == root or path.startswith((root.rstrip("/") + "/", root + "::"))


def description_digest(texts: Collection[str], split: str | None, group: str | None, meta: Mapping[str, Any]) -> str:
    """Fingerprint of what a source says about an image; empty when it says nothing."""
    if not (texts or split or group or meta):
        return ""
    return fingerprint.of_bytes(json.dumps([list(texts), split, group, dict(meta)], sort_keys=True).encode())


def content_of(data: bytes) -> str:
    """The fingerprint of encoded bytes, as indexing a file gives it."""
    return hashlib.blake2b(data, digest_size=fingerprint.LENGTH // 2).hexdigest()


def text_of(meta: Any) -> str | None:
    """The text itself, by what a search hit says; None for an image."""
    return meta["texts"][0] if meta.get("kind") == TEXT_KIND and meta.get("texts") else None


def new_id(path: str, content: str, taken: Container[str]) -> str:
    """An id for an image that the library did not have: stable for the same path and content, never one in use."""
    candidates = (fingerprint.combined((path, content, str(attempt)))[:ID_LENGTH] for attempt in itertools.count())
    return next(one for one in candidates if one not in taken)
