"""Uploaded images: their bytes, in files that the library names itself, by content."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from diptych.core.files import files_below, fsync_folder, write_bytes
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

    def orphans(self, paths: Container[str]) -> list[Path]:
        """Files that belong to none of these rows."""
        return [file for file in files_below(self.folder) if OWNED + str(file.relative_to(self.folder)) not in paths]
