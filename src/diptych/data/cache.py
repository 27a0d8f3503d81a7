"""The feature cache: each image goes through a frozen tower once, whatever is trained later.

One folder per tower and view, two append-only files in it:

    keys.bin     16 bytes a row: fingerprint of the input's content
    rows.f16     2 * dim bytes a row: the tower's features (rows.i32 for token ids, rows.u8 for pixels)

Rows are flushed before their keys, so a key on disk always has its row; whatever a crash leaves
beyond that is cut off at the next opening. Rows are memory-mapped, so a second epoch, or a
second experiment, neither decodes an image nor loads the cache into memory.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError
from diptych.core.files import locked, write_json
from diptych.core.shapes import Int, Shaped
from diptych.core.types import ImageRef
from diptych.data.video import VideoImage

KEY_BYTES = 16
_SUFFIX = {"float16": "f16", "float32": "f32", "int32": "i32", "uint8": "u8"}


class FeatureCache:
    """Features of one tower under one view, keyed by content.

    Args:
        root: folder of all caches.
        tower: the tower's fingerprint.
        view: how the input was shown to the tower ("full", "flip", "crop-3", "text").
        dim: width of a row.
        storage: float16 for features, float32 for embeddings, int32 for token ids, uint8 for pixels.
    """

    def __init__(self, root: Path, tower: str, view: str, dim: int, storage: str = "float16") -> None:
        if storage not in _SUFFIX:
            raise ConfigError(f"unknown storage {storage!r}; choose from {', '.join(_SUFFIX)}")
        self.dim = dim
        self.dtype = np.dtype(storage)
        self._row_bytes = dim * self.dtype.itemsize
        self.folder = folder_of(root, tower, view)
        self._keys_path = self.folder / "keys.bin"
        self._rows_path = self.folder / f"rows.{_SUFFIX[storage]}"
        self._forget()
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "about.json"
        if about.exists():
            found = _dim_in(about)
            if found != dim:
                raise DataError(
                    f"the feature cache {self.folder} holds {found or 'unknown'}-d features, expected {dim}-d; "
                    "delete that folder"
                )
        else:
            write_json(about, {"tower": tower, "view": view, "dim": dim, "dtype": storage})
        self._read_keys()

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, key: bytes) -> bool:
        return key in self._row_of

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Positions in `keys` that have no row yet; a repeated key is listed once."""
        first: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            if key not in self._row_of:
                first.setdefault(key, position)
        return list(first.values())

    def add(self, keys: Sequence[bytes], rows: Shaped[np.ndarray, "n d"]) -> None:
        """Append rows durably; keys that are already there are left alone.

        Raises DataError when the shapes do not fit or a row is not finite as it is stored.
        """
        if rows.shape != (len(keys), self.dim):
            raise DataError(f"expected {len(keys)} rows of {self.dim} features, found {rows.shape}")
        stored = rows.astype(self.dtype)
        if not np.isfinite(stored).all():
            raise DataError(f"features are not finite in {self.dtype}; the tower is broken or not normalised")
        with locked(self.folder / "lock"):
            self._read_keys()  # another process may have written meanwhile
            fresh = self.missing(keys)
            if not fresh:
                return
            new = [keys[position] for position in fresh]
            _append(self._rows_path, self._read * self._row_bytes, stored[fresh].tobytes())
            _append(self._keys_path, self._read * KEY_BYTES, b"".join(new))
            self._take(new)

    def rows(self, keys: Sequence[bytes]) -> Int[np.ndarray, " n"]:
        """Row numbers of the keys. Raises KeyError for one that is not there."""
        return np.fromiter((self._row_of[key] for key in keys), dtype=np.int64, count=len(keys))

    def numbers(self) -> dict[bytes, int]:
        """The row number of every key, as of now."""
        return dict(self._row_of)

    def map(self) -> Shaped[np.ndarray, "n d"]:
        """All rows, memory-mapped read-only."""
        if not self._read:
            return np.zeros((0, self.dim), dtype=self.dtype)
        return np.memmap(self._rows_path, dtype=self.dtype, mode="r", shape=(self._read, self.dim))

    def _read_keys(self) -> None:
        """Read the keys behind those that are known, so that each key of a cache is read once."""
        if not self._keys_path.exists() or not self._rows_path.exists():
            self._forget()
            return
        count = min(self._keys_path.stat().st_size // KEY_BYTES, self._rows_path.stat().st_size // self._row_bytes)
        if count < self._read or not self._is_known():  # the folder was deleted, and perhaps made anew
            self._forget()
        if count == self._read:
            return
        with self._keys_path.open("rb") as stream:
            stream.seek(self._read * KEY_BYTES)
            raw = stream.read((count - self._read) * KEY_BYTES)
        self._take([raw[start : start + KEY_BYTES] for start in range(0, len(raw), KEY_BYTES)])

    def _is_known(self) -> bool:
        """Whether the last key that was read is still in its place."""
        if not self._read:
            return True
        with self._keys_path.open("rb") as stream:
            stream.seek((self._read - 1) * KEY_BYTES)
            return self._row_of.get(stream.read(KEY_BYTES)) == self._read - 1

    def _forget(self) -> None:
        self._row_of: dict[bytes, int] = {}
        self._read = 0  # rows whose keys are known

    def _take(self, keys: Sequence[bytes]) -> None:
        self._row_of.update(zip(keys, range(self._read, self._read + len(keys)), strict=True))
        self._read += len(keys)


def folder_of(root: Path, tower: str, view: str) -> Path:
    """Where the features of a tower (by its fingerprint) under a view are kept below the folder of all caches."""
    return root / f"{fingerprint.of_bytes(tower.encode())[:16]}-{view}"


def _append(path: Path, whole: int, data: bytes) -> None:
    """Write behind the first `whole` bytes, durably; what is there beyond them is cut off."""
    with path.open("r+b" if path.exists() else "w+b") as stream:
        stream.truncate(whole)
        stream.seek(0, os.SEEK_END)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _dim_in(about: Path) -> int | None:
    try:
        return int(json.loads(about.read_text(encoding="utf-8"))["dim"])
    except (ValueError, KeyError, TypeError):  # damaged
        return None


def content_key(data: bytes) -> bytes:
    """The 16-byte key of an input's content."""
    return bytes.fromhex(fingerprint.of_bytes(data))


def bytes_of(ref: ImageRef) -> bytes | None:
    """An image's encoded bytes; None for one that cannot be read."""
    with contextlib.suppress(DataError, OSError), ref.open() as stream:
        return stream.read()
    return None


def image_key(ref: ImageRef) -> bytes | None:
    """The key of an image's bytes, the same for the same bytes; None for one that cannot be read."""
    if isinstance(ref, ReadImage):
        return ref.key
    with contextlib.suppress(DataError, OSError):
        return content_key(ref.content())
    return None


@dataclass(frozen=True, slots=True)
class ReadImage(ImageRef):
    """An image that was read before: the key of its bytes is known, and they may be held."""

    ref: ImageRef
    key: bytes
    data: bytes | None = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """As that of the image itself."""
        return self.ref.name

    def open(self) -> IO[bytes]:
        """The encoded bytes, from memory where they are held."""
        return self.ref.open() if self.data is None else io.BytesIO(self.data)

    def stated_bytes(self) -> int | None:
        """As that of the image itself, unless its bytes are held."""
        return self.ref.stated_bytes() if self.data is None else len(self.data)


class ReadOnce:
    """Reads images and remembers their keys and, up to a total of `room` bytes, what they hold.

    For work that has to look at all images before it decodes some of them.
    """

    def __init__(self, room: int = 128 << 20) -> None:
        self._room = room

    def __call__(self, ref: ImageRef) -> ImageRef:
        """The image as one that was read; itself where it cannot be read, and a video, whose key is found quickly."""
        data = None if isinstance(ref, VideoImage) else bytes_of(ref)
        if data is None:
            return ref
        self._room -= (is_held := len(data) <= self._room) * len(data)
        return ReadImage(ref, content_key(data), data if is_held else None)
