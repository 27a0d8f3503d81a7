"""Embeddings that were computed before: an image or a text goes through a model once, also between commands.

Rows lie in `$DIPTYCH_CACHE/embeddings`, a folder a model and kind, by the key of the content, in single precision, so
that what is read is what was computed. The folders used least recently are deleted where all take more than `LIMIT`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from diptych.core.errors import DataError, first_line
from diptych.core.files import cache_folder
from diptych.core.protocols import Progress
from diptych.core.shapes import Float32
from diptych.core.version import __version__
from diptych.data.cache import FeatureCache

from .dual import DualEncoder

LIMIT = 4 << 30  # bytes of all embeddings
_WRITTEN_AT_ONCE = 512  # rows


class EmbeddingCache:
    """The rows of one model and kind ("text", "image", "image flip"): those of before, and new ones.

    Images are keyed by their bytes, so another version of Diptych, which may decode them otherwise, keeps its own rows.
    New rows are written from time to time and when the block ends, an interrupted one too. Where the folder cannot be
    written, nothing is kept. `known` are the keys that were there at the beginning.

    Args:
        model: whose embeddings they are.
        kind: what is embedded.
        width: numbers in a row.
        progress: told what was there, and when nothing can be written.
        root: folder of all embeddings; in the cache's folder when left out.
    """

    def __init__(self, model: DualEncoder, kind: str, width: int, progress: Progress, root: Path | None = None) -> None:
        self.root = root or cache_folder() / "embeddings"
        self._progress = progress
        self._cache: FeatureCache | None = None
        self.known: Mapping[bytes, int] = {}
        self._stored = np.zeros((0, width), dtype=np.float32)
        self._new: dict[bytes, int] = {}  # key -> its place in `_rows`
        self._rows: list[Float32[np.ndarray, " w"]] = []
        self._written = 0
        with self._failing():
            self._cache = FeatureCache(
                self.root, f"{model.fingerprint} {__version__}", kind.replace(" ", "-"), width, "float32"
            )
            self.known, self._stored = self._cache.numbers(), self._cache.map()
            os.utime(self._cache.folder)  # used just now
            _make_room(self.root, self._cache.folder)

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, keys: Sequence[bytes], rows: Float32[np.ndarray, "n w"]) -> None:
        """Take new rows."""
        for key, row in zip(keys, rows, strict=True):
            self._new[key] = len(self._rows)
            self._rows.append(row)
        if len(self._rows) - self._written >= _WRITTEN_AT_ONCE:
            self._write()

    def rows(self, keys: Sequence[bytes]) -> Float32[np.ndarray, "n w"]:
        """The rows of keys that are known or were added."""
        found = np.empty((len(keys), self._stored.shape[1]), dtype=np.float32)
        for place, key in enumerate(keys):
            number = self.known.get(key)
            found[place] = self._rows[self._new[key]] if number is None else self._stored[number]
        return found

    def say(self, keys: Sequence[bytes], what: str) -> None:
        """Tell how many of the keys were known, if any."""
        if read := sum(key in self.known for key in keys):
            self._progress.say(f"{read:,} of {len(keys):,} {what} were embedded before; read from {self.root}")

    def _write(self) -> None:
        keys, rows = list(self._new)[self._written :], np.array(self._rows[self._written :])
        self._written = len(self._rows)
        if self._cache is not None and keys and (len(self._cache) + len(keys)) * rows[0].nbytes > LIMIT:
            self._cache = None
            self._progress.say(f"no more embeddings are kept in {self.root}: those of this model take {LIMIT:,} bytes")
        if self._cache is not None and keys:
            finite = np.isfinite(rows).all(axis=1)
            with self._failing():
                self._cache.add([key for key, fits in zip(keys, finite, strict=True) if fits], rows[finite])

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Around reading and writing: where that fails, nothing more is kept."""
        try:
            yield
        except (OSError, DataError) as error:  # a full disk, a folder that may not be written, one that is damaged
            self._cache = None
            said = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            self._progress.say(f"embeddings are not kept in {self.root}: {said}")


def _make_room(root: Path, used: Path) -> None:
    """Delete the folders used least recently, but for the one in use, until the rest fits."""
    sizes = {
        folder: sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        for folder in root.iterdir()
        if folder.is_dir()
    }
    for folder in sorted(sizes, key=lambda each: each.stat().st_mtime):
        if sum(sizes.values()) <= LIMIT:
            return
        if folder != used:
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]
