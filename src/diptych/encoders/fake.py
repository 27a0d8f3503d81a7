"""Tiny deterministic towers in NumPy, for tests of everything that takes a tower.

Images of similar colours get similar vectors, and so do texts that share words.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence

import numpy as np

from diptych.core import fingerprint
from diptych.core.protocols import Preprocess
from diptych.core.registry import register
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.inputs import check_pixels, clean

_GRID = 4  # cells a side
_BUCKETS = 512  # words are hashed into these


@register.image_tower("fake", "tiny, for tests")
class FakeImageTower:
    """A 4 x 4 grid of mean colours, projected by a fixed random matrix."""

    def __init__(self, dim: int = 32, size: int = 32, seed: int = 0) -> None:
        self.dim = dim
        self.preprocess = Preprocess(size=size)
        self.fingerprint = fingerprint.of_json(["fake-image", dim, size, seed])
        self._matrix = _matrix(_GRID * _GRID * 3, dim, seed)

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of images of `size` x `size` pixels. Raises ModelError for another type or size."""
        check_pixels(pixels, self.preprocess)
        rows = [_cells(band, axis=2) for band in _cells(pixels, axis=1)]
        colours = np.stack([cell.mean(axis=(1, 2)) for row in rows for cell in row], axis=1)
        scaled = (colours.reshape(len(pixels), -1) - 127.0) / 128.0
        return np.asarray(scaled.astype(np.float32) @ self._matrix)


@register.image_tower("fake-maps", "tiny maps of two depths, for tests")
class FakeMapTower:
    """Mean colours and their squares on a 4 x 4 grid, and their mean on a 2 x 2 grid: maps of two depths."""

    maps = ((6, 4, 4), (8, 2, 2))  # (channels, rows, columns), finest first
    dim = 6 * 16 + 8 * 4

    def __init__(self, size: int = 32, seed: int = 2) -> None:
        self.preprocess = Preprocess(size=size)
        self.fingerprint = fingerprint.of_json(["fake-maps", size, seed])
        self._matrix = _matrix(6, 8, seed)

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Both maps, each flattened channel by channel. Raises ModelError for another type or size."""
        check_pixels(pixels, self.preprocess)
        rows = [_cells(band, axis=2) for band in _cells(pixels, axis=1)]
        grid = np.stack([np.stack([cell.mean(axis=(1, 2)) for cell in row], axis=1) for row in rows], axis=1)
        colours = (grid.astype(np.float32) - 127) / 128  # (b, 4, 4, 3)
        fine = np.concatenate([colours, colours**2], axis=-1)
        coarse = fine.reshape(len(pixels), 2, 2, 2, 2, 6).mean(axis=(2, 4)) @ self._matrix
        flat = [np.moveaxis(one, -1, 1).reshape(len(pixels), -1) for one in (fine, coarse)]
        return np.concatenate(flat, axis=1).astype(np.float32)


@register.text_tower("fake", "tiny, for tests")
class FakeTextTower:
    """Counts of hashed lower-case words, projected by a fixed random matrix."""

    languages: frozenset[str] = frozenset()

    def __init__(self, dim: int = 32, max_tokens: int | None = None, seed: int = 1) -> None:
        self.dim = dim
        self.max_tokens = max_tokens
        self.fingerprint = fingerprint.of_json(["fake-text", dim, max_tokens, seed])
        self._matrix = _matrix(_BUCKETS, dim, seed)

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Features of texts; the empty text gives zeros."""
        counts = np.zeros((len(texts), _BUCKETS), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _words(text)[: self.max_tokens]:
                counts[row, zlib.crc32(word.encode()) % _BUCKETS] += 1
        return np.asarray(counts @ self._matrix)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words of each text before any cut."""
        return [len(_words(text)) for text in texts]


def _cells(array: np.ndarray, axis: int) -> list[np.ndarray]:
    edges = np.linspace(0, array.shape[axis], _GRID + 1).astype(int)
    return [
        array.take(range(start, max(end, start + 1)), axis=axis, mode="clip")
        for start, end in itertools.pairwise(edges)
    ]


def _matrix(rows: int, columns: int, seed: int) -> Float32[np.ndarray, "r c"]:
    generator = np.random.default_rng(seed)
    return np.asarray(generator.standard_normal((rows, columns)) / np.sqrt(rows), dtype=np.float32)


def _words(text: str) -> list[str]:
    return clean(text).lower().split()
