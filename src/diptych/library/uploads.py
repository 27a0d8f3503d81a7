"""Uploaded images: their bytes, in files that the library names itself, by content."""

from __future__ import annotations

import io
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from diptych.core.errors import DataError, LibraryError, Reason
from diptych.core.file_names import unescape
from diptych.core.files import files_below, fsync_folder, write_bytes
from diptych.core.types import FileImage, ImageRef
from diptych.library.bucket import Bucket, bucket_of
from diptych.library.store.rows import OWNED, is_owned

FOLDER = "files"
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "HEIF": ".heic"}


def uploads_of(folder: Path) -> Uploads:
    """The uploads of the library in a folder, or in a working folder."""
    bucket = bucket_of(folder)
    return Uploads(folder / FOLDER) if bucket is None else BucketUploads(bucket, FOLDER, folder / FOLDER)


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

    def image(self, location: str) -> ImageRef:
        """The image at a written location, as `rows.location` gives it: an upload, or a file of somebody's own."""
        return FileImage(Path(unescape(location)))

    def orphans(self, paths: Container[str]) -> list[str]:
        """Names of files that belong to none of these rows; those that are half-written are left out."""
        return [str(file) for file in self._orphans(paths)]

    def set_aside(self, paths: Container[str], lost: Path) -> None:
        """Move those files into a folder beside."""
        for file in self._orphans(paths):
            lost.mkdir(exist_ok=True)
            file.replace(lost / file.name)

    def _orphans(self, paths: Container[str]) -> list[Path]:
        return [
            file
            for file in files_below(self.folder)
            if file.suffix != ".tmp" and OWNED + str(file.relative_to(self.folder)) not in paths
        ]


@dataclass(frozen=True, slots=True)
class BucketImage(ImageRef):
    """An uploaded image on object storage."""

    address: str  # of the library
    object: str

    @property
    def name(self) -> str:
        """The address of the object."""
        return f"{self.address}/{self.object}"

    def open(self) -> IO[bytes]:
        """The encoded bytes. Raises DataError(missing) when the object is gone, or the storage is away."""
        try:
            data = Bucket(self.address).get(self.object)
        except LibraryError as error:
            raise DataError(str(error), Reason.MISSING) from error
        if data is None:
            raise DataError(f"cannot open {self.name}: there is no such object", Reason.MISSING)
        return io.BytesIO(data)

    def stated_bytes(self) -> None:
        """None: it is known after reading."""


class BucketUploads(Uploads):
    """Uploaded images of a library on object storage: an object each."""

    def __init__(self, bucket: Bucket, name: str, folder: Path) -> None:
        """`folder` is the working folder's, where there are none."""
        super().__init__(folder)
        self._bucket, self._name = bucket, name

    def write(self, path: str, data: bytes) -> None:
        """Store an image, durably; what is there already stays."""
        if self.size(path) != len(data):
            self._bucket.put(self._object(path), data)

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

    def image(self, location: str) -> ImageRef:
        """As in a folder; of an upload the object."""
        prefix = f"{self._bucket.address}/"
        if location.startswith(prefix):
            return BucketImage(self._bucket.address, location.removeprefix(prefix))
        return super().image(location)

    def orphans(self, paths: Container[str]) -> list[str]:
        """Addresses of objects that belong to none of these rows."""
        return [f"{self._bucket.address}/{name}" for name in self._objects(paths)]

    def set_aside(self, paths: Container[str], lost: Path) -> None:
        """Move those objects."""
        for name in self._objects(paths):
            if (data := self._bucket.get(name)) is not None:
                self._bucket.put(f"{lost.name}/{PurePosixPath(name).name}", data)
                self._bucket.remove(name)

    def _objects(self, paths: Container[str]) -> list[str]:
        names = (one.name for one in self._bucket.names(self._name))
        return [name for name in names if OWNED + name.removeprefix(f"{self._name}/") not in paths]

    def _object(self, path: str) -> str:
        return f"{self._name}/{path.removeprefix(OWNED)}"
