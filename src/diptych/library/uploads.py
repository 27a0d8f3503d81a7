"""Uploaded images: their bytes, in files that the library names itself, by content."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from diptych.core.errors import LibraryError
from diptych.core.files import files_below, fsync_folder, write_bytes
from diptych.library.bucket import Bucket
from diptych.library.store.rows import OWNED, is_owned

_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "HEIF": ".heic"}


class Uploads:
    """The files of one library. No name that a user gives ever becomes part of a name on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, content: str, data: bytes) -> str:
        """The path of the row of an image with these bytes: the same bytes always have the same."""
        from diptych.data.images.formats import HEAD, sniff

        kind = sniff(data[:HEAD]) or "bin"
        return f"{OWNED}{content[:2]}/{content}{_SUFFIXES.get(kind, '.' + kind.lower())}"

    def file(self, path: str) -> Path:
        """Where the image of a row is."""
        return self.folder / path.removeprefix(OWNED)

    def write(self, path: str, data: bytes) -> None:
        """Store an image, durably; what is there already stays."""
        file = self.file(path)
        if file.is_file() and file.stat().st_size == len(data):
            return
        is_new = not file.parent.is_dir()
        write_bytes(file, data)
        if is_new:
            fsync_folder(self.folder)
            fsync_folder(self.folder.parent)

    def remove(self, path: str) -> None:
        """Remove the image of a row, if the library keeps it itself."""
        if is_owned(path):
            self.file(path).unlink(missing_ok=True)

    def size(self, path: str) -> int | None:
        """How many bytes the image of a row has; None when it is not there."""
        try:
            return self.file(path).stat().st_size
        except OSError:
            return None

    def read(self, path: str) -> bytes | None:
        """The bytes of the image of a row; None when it is not there."""
        try:
            return self.file(path).read_bytes()
        except OSError:
            return None

    def orphans(self, paths: Container[str]) -> list[Path]:
        """Files that belong to none of these rows."""
        return [file for file in files_below(self.folder) if OWNED + str(file.relative_to(self.folder)) not in paths]


class BucketUploads(Uploads):
    """Uploaded images of a library that was copied to object storage. They can be read there; none are added."""

    def __init__(self, bucket: Bucket, name: str, folder: Path) -> None:
        """`folder` is the working folder's, where there are none."""
        super().__init__(folder)
        self._bucket, self._name = bucket, name

    def write(self, path: str, data: bytes) -> None:
        """Raises LibraryError."""
        raise LibraryError(
            f"the library {self._bucket.address} takes no uploads, only images that are indexed where they are; "
            "upload to a library in a folder, or index a folder: diptych index"
        )

    def remove(self, path: str) -> None:
        """Remove the image of a row, if the library keeps it itself."""
        if is_owned(path):
            self._bucket.remove(self._object(path))

    def size(self, path: str) -> int | None:
        """How many bytes the image of a row has; None when it is not there."""
        found = self._bucket.head(self._object(path))
        return None if found is None else found.bytes

    def read(self, path: str) -> bytes | None:
        """The bytes of the image of a row; None when it is not there."""
        return self._bucket.get(self._object(path))

    def _object(self, path: str) -> str:
        return f"{self._name}/{path.removeprefix(OWNED)}"
