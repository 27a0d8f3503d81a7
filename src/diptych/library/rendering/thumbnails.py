"""Thumbnails: small JPEGs named by content, in sharded subfolders, which can be made again from the images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Container
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from diptych.core.files import files_below
from diptych.library.bucket import Bucket, bucket_of
from diptych.library.store.protocol import Store, having

FOLDER = "thumbs"
SIZE = 256  # pixels, longer side
_AT_ONCE = 8  # requests to object storage
_MOST_WAITING = 256
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"


def thumbnails_of(folder: Path) -> Thumbnails:
    """The thumbnails of the library in a folder, or in a working folder."""
    bucket = bucket_of(folder)
    return Thumbnails(folder / FOLDER) if bucket is None else BucketThumbnails(bucket, FOLDER)


class Thumbnails:
    """The thumbnails of one library. The same content at two paths shares one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, content: str) -> Path:
        """Where the thumbnail of a content fingerprint is."""
        return self.folder / content[:2] / f"{content}.jpg"

    def shown(self, content: str) -> str:
        """Where a thumbnail is, for people."""
        return str(self.path(content))

    def write(self, content: str, jpeg: bytes) -> None:
        """Store a thumbnail; readers see the old one or the new one.

        It is not flushed to disk one by one: a thumbnail lost to a power cut is found by `verify`
        and made again from the image.
        """
        target = self.path(content)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_bytes(jpeg)
        temporary.replace(target)

    def flush(self) -> None:
        """Wait until all that was written is where it belongs: before the rows that it belongs to are acknowledged."""

    def remove_unused(self, contents: Collection[str], store: Store) -> set[str]:
        """Remove those of contents that no row has any more, in the trash or out of it. Returns these contents."""
        gone = set(contents)
        gone -= having(store, "content", gone, "all")
        self._remove(gone)
        return gone

    def read(self, content: str) -> bytes | None:
        """The JPEG bytes, or None when there are none."""
        with contextlib.suppress(OSError):
            return self.path(content).read_bytes()
        return None

    def is_whole(self, content: str) -> bool:
        """Whether a thumbnail is there and starts and ends as a JPEG does."""
        data = self.read(content)
        return data is not None and data.startswith(_START) and data.endswith(_END)

    def orphans(self, contents: Container[str]) -> list[str]:
        """Files that belong to none of these contents."""
        return [str(path) for path in files_below(self.folder) if path.suffix != ".jpg" or path.stem not in contents]

    def remove_orphans(self, contents: Container[str]) -> None:
        """Remove those files."""
        for name in self.orphans(contents):
            Path(name).unlink(missing_ok=True)

    def _remove(self, contents: Collection[str]) -> None:
        for content in contents:
            self.path(content).unlink(missing_ok=True)


class BucketThumbnails(Thumbnails):
    """The thumbnails of a library on object storage. Nothing is kept here: browsers keep what they are shown."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        super().__init__(Path(bucket.address) / name)
        self._bucket, self._name = bucket, name
        self._sending = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="diptych-thumbnails")
        self._sent: list[Future[None]] = []

    def shown(self, content: str) -> str:
        """Where a thumbnail is, for people."""
        return f"{self._bucket.address}/{self._object(content)}"

    def write(self, content: str, jpeg: bytes) -> None:
        """Begin to store a thumbnail; several are sent at once."""
        self._sent.append(self._sending.submit(self._bucket.put, self._object(content), jpeg))
        if len(self._sent) >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Wait until all are there. Raises LibraryError when one could not be stored."""
        waiting, self._sent = self._sent, []
        for one in waiting:
            one.result()

    def read(self, content: str) -> bytes | None:
        """The JPEG bytes, or None when there are none."""
        return self._bucket.get(self._object(content))

    def orphans(self, contents: Container[str]) -> list[str]:
        """Objects that belong to none of these contents."""
        return [f"{self._bucket.address}/{name}" for name in self._orphans(contents)]

    def remove_orphans(self, contents: Container[str]) -> None:
        """Remove those objects."""
        if names := self._orphans(contents):
            self._bucket.remove(*names)

    def _orphans(self, contents: Container[str]) -> list[str]:
        names = (one.name for one in self._bucket.names(self._name))
        return [name for name in names if PurePosixPath(name).stem not in contents]

    def _remove(self, contents: Collection[str]) -> None:
        if contents:
            self._bucket.remove(*map(self._object, contents))

    def _object(self, content: str) -> str:
        return f"{self._name}/{content[:2]}/{content}.jpg"
