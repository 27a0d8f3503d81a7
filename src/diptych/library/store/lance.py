"""The store in a Lance table: a folder of immutable files, one manifest for each version."""

from __future__ import annotations

import contextlib
import copy
import functools
import heapq
import os
import re
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import LibraryError
from diptych.core.file_names import escape
from diptych.core.files import fsync_file, fsync_folder
from diptych.core.memory import trim_memory
from diptych.core.shapes import Float32
from diptych.library import bucket

from . import leases
from .lance_filter import literal, to_sql
from .protocol import Part, earlier_layout
from .row_codec import MOST_EXTRA_COLUMNS, STORED, cast, from_cells, new_columns, to_cells
from .rows import COLUMNS, PHOTO_COLUMNS, TRASH_COLUMNS, WORDS, Row
from .where import AllOf, Condition, Where

TABLE = "pictures"  # its name on disk
_OLD_TRASH = "trash"  # the second table of libraries made by an earlier development version
_SCAN_ROWS = 8192
_CACHED_BYTES = 4_000_000  # each of two caches; only the newest version is asked for
_FULL = ("No space left", "os error 28", "File too large", "os error 27", "quota exceeded", "os error 122")
_MANIFEST = re.compile(r"(\d+)\.manifest")
_NEWEST_FIRST = 2**64 - 1  # Lance names manifests by this minus the version, so that the newest sorts first
_FOR_EVER = timedelta(days=36_500)
_MARGIN_SECONDS = 5.0
_INDEXED = ("id", "path")
_INDEXED_FROM = 10_000  # rows
_PARTS = {"live": "deleted_at IS NULL", "trash": "deleted_at IS NOT NULL", "all": None}
_KINDS = {"string": "text", "double": "number", "bool": "boolean", "int32": "integer", "int64": "integer"}


def versions_folder(folder: Path, table: str = TABLE) -> Path:
    """The folder in which every version of the table has a file."""
    return folder / f"{table}.lance" / "_versions"


def version_on_disk(folder: Path) -> str | None:
    """A token that changes with every version of the table, read without importing Lance; None without one."""
    with (
        contextlib.suppress(FileNotFoundError),
        os.scandir(versions_folder(folder)) as entries,
    ):
        return token_of((entry.name, entry.stat().st_size) for entry in entries)
    return None


def token_of(files: Iterable[tuple[str, int]]) -> str | None:
    """The same by the names and sizes of the files of versions."""
    found = [
        (_NEWEST_FIRST - int(match[1]) if len(match[1]) == 20 else int(match[1]), size)
        for name, size in files
        if (match := _MANIFEST.fullmatch(name.rpartition("/")[2]))
    ]
    return f"{max(found)[0]}-{max(found)[1]}" if found else None


class LanceStore:
    """Rows in `folder/pictures.lance`. Metadata keys become columns, so that `where` can ask about them.

    Raises LibraryError for the two tables of an earlier development version.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._synced: set[str] = set()
        self._lease: leases.Lease | None = None  # of a handle on one version
        self._connect(str(folder), dim)

    def _connect(self, address: str, dim: int, options: dict[str, str] | None = None) -> None:
        self._address, self._dim = address, dim
        with one_line_errors("the store cannot be opened"):
            import lancedb

            self._database = lancedb.connect(
                address, read_consistency_interval=timedelta(0), session=_session(), storage_options=options
            )
            self._table = self._open_or_create()

    def _open_or_create(self) -> Any:
        if not self._is_made():
            table = self._database.create_table(TABLE, schema=_schema(self._dim), exist_ok=True)
            self._make_durable()
            return table
        table = self._database.open_table(TABLE)
        if self._is_made(_OLD_TRASH) or table.schema.get_field_index("deleted_at") < 0:
            raise earlier_layout(self._address)
        return table

    def _is_made(self, table: str = TABLE) -> bool:
        """Whether a table has a version. A folder without one is left over from a disk that was full."""
        with contextlib.suppress(FileNotFoundError), os.scandir(versions_folder(self._folder, table)) as entries:
            return any(_MANIFEST.fullmatch(entry.name) for entry in entries)
        return False

    def at_one_version(self) -> tuple[LanceStore, str]:
        """This table as of its newest version, for reading only, and that version's token.

        The version is kept as long as the handle lives: no compaction deletes it.
        """
        with one_line_errors("the store cannot be read"), leases.settled(self._folder):
            token = version_on_disk(self._folder) or ""
            version = int(token.partition("-")[0])
            fixed = copy.copy(self)
            with contextlib.suppress(OSError):  # a disk that cannot be written can still be read
                fixed._lease = leases.Lease(self._folder, version)
            fixed._table = self._database.open_table(TABLE)
            fixed._table.checkout(version)
        return fixed, token

    @property
    def version(self) -> int:
        """The newest version."""
        return int(self._table.version)

    def count(self, part: Part = "live", where: Where | None = None) -> int:
        """How many rows the newest version holds, or how many pass a filter."""
        with one_line_errors("the store cannot be read"):
            return int(self._table.count_rows(_among(part, where)))

    def columns(self) -> Mapping[str, str]:
        """Name -> kind of what `where` may ask about."""
        kinds = {}
        for column in self._table.schema:
            if column.name != "vector" and column.name not in TRASH_COLUMNS:
                kind = str(column.type)
                is_time = kind.startswith("timestamp") or PHOTO_COLUMNS.get(column.name) == "timestamp"
                kinds[column.name] = "timestamp" if is_time else _KINDS.get(kind, kind)
        return kinds

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """Insert or replace rows by id and remove others for good, as one version; durable on return."""
        if not rows and not remove:
            return
        gone = f"id IN ({', '.join(map(literal, sorted(remove)))})"
        with one_line_errors("the store cannot be written"):
            if not rows:
                self._table.delete(gone)
            else:
                self._add_columns_for(rows)
                merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
                if remove:
                    merge = merge.when_not_matched_by_source_delete(gone)
                merge.execute(self._to_arrow(rows))
        self._make_durable()

    def get(self, ids: Collection[str], part: Part = "live", *, vectors: bool = True) -> list[Row]:
        """The rows with these ids, sorted by id; unknown ids are left out."""
        wanted = sorted(one for one in set(ids) if one.isascii())  # as all are; half a character cannot be asked for
        if not wanted:
            return []
        rows = []
        for start in range(0, len(wanted), 1000):
            where = f"id IN ({', '.join(map(literal, wanted[start : start + 1000]))})"
            where = " AND ".join(filter(None, (where, _PARTS[part])))
            columns = sorted(STORED if vectors else STORED - {"vector"})
            found = self._table.search().where(where).select(columns).limit(None).to_arrow()
            read = _vectors(found["vector"], self._dim) if vectors else np.empty((len(found), 0), dtype=np.float32)
            plain_columns = (found.drop_columns(["vector"]) if vectors else found).to_pylist()
            rows += [from_cells(line, read[at]) for at, line in enumerate(plain_columns)]
        return sorted(rows, key=lambda row: row.id)

    def scan(self, columns: Sequence[str], part: Part = "live", where: Where | None = None) -> Iterator[dict[str, Any]]:
        """Rows in blocks: column -> list of values, or a float32 array for "vector"."""
        with one_line_errors("the store cannot be read"):
            query = self._table.search()
            if (among := _among(part, where)) is not None:
                query = query.where(among)
            for batch in query.select(list(columns)).limit(None).to_batches(_SCAN_ROWS):
                yield {
                    name: _vectors(batch[name], self._dim) if name == "vector" else batch[name].to_pylist()
                    for name in columns
                }

    def matching(self, where: Where) -> list[str]:
        """Ids of the live rows for which a filter over `columns` holds, in order."""
        with one_line_errors("the store cannot be read"):
            found = self._table.search().where(_among("live", where)).select(["id"]).limit(None).to_arrow()
        return sorted(found["id"].to_pylist())

    def page(self, after: str, limit: int, where: Where | None = None) -> list[str]:
        """Ids of the next live rows, in order. Lance orders no rows, so that all later ids are read, block by block."""
        behind = Condition("id", ">", after)
        wanted = behind if where is None else AllOf((behind, where))
        ids = (identifier for block in self.scan(["id"], where=wanted) for identifier in block["id"])
        return heapq.nsmallest(limit, ids)

    def search(
        self, vectors: Float32[np.ndarray, "q d"], k: int, where: Where | None = None
    ) -> list[list[tuple[str, float]]]:
        """Lance's own exact search among live rows: for each vector (id, cosine), best first."""
        found = []
        for vector in vectors:
            query = self._table.search(vector, vector_column_name="vector").distance_type("dot")
            lines = query.select(["id", "_distance"]).where(_among("live", where)).limit(k).to_arrow().to_pylist()
            found.append([(line["id"], 1.0 - line["_distance"]) for line in lines])
        return found

    def check_words(self) -> None:
        """Words can be searched."""

    def worded(self, text: str, k: int, where: Where | None = None) -> list[str]:
        """Ids of live rows whose words in the image hold words of a text, best first by Lance's full-text search.

        Raises LibraryError where no words were read, or their index was not finished.
        """
        if WORDS not in self._table.schema.names:
            raise LibraryError(
                "no words were read in the images of this library; do so: diptych index FOLDER --library LIBRARY --ocr"
            )
        if not any(WORDS in index.columns for index in self._table.list_indices()):
            raise LibraryError("the words have no index yet; finish it: diptych library compact --library LIBRARY")
        with one_line_errors("the words cannot be searched"):
            query = self._table.search(text, query_type="fts", fts_columns=WORDS)
            query = query.where(_among("live", where), prefilter=True).select(["id", "_score"]).limit(k)
            found = query.to_arrow().to_pylist()
        return [line["id"] for line in sorted(found, key=lambda line: (-line["_score"], line["id"]))]

    def compact(self, keep_seconds: float) -> None:
        """Merge small files, bring the indexes up to date, and drop versions older than `keep_seconds`.

        The oldest version that somebody reads (`at_one_version`) and all later ones are kept. The caller holds the
        writer lock, so files of unfinished writes are leftovers of killed runs.
        """
        with one_line_errors("the store cannot be compacted"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._add_indexes()
            self._table.optimize(cleanup_older_than=_FOR_EVER)
            with leases.settled(self._folder):
                age = max(keep_seconds, self._age_of(leases.oldest(self._folder)))
                self._table.optimize(cleanup_older_than=timedelta(seconds=age), delete_unverified=True)
        trim_memory()
        self._make_durable()

    def _add_indexes(self) -> None:
        """Index the words in images and, in a large table, the columns that find single rows.

        New rows are scanned until a compaction.
        """
        from lancedb.index import FTS, BTree

        if WORDS in self._table.schema.names and not any(WORDS in one.columns for one in self._table.list_indices()):
            plain = FTS(with_position=False, stem=False, remove_stop_words=False, ascii_folding=True)  # any language
            self._table.create_index(WORDS, config=plain)
        if self._table.count_rows() >= _INDEXED_FROM:
            there = {column for index in self._table.list_indices() for column in index.columns}
            for column in _INDEXED:
                if column not in there:
                    self._table.create_index(column, config=BTree())

    def _age_of(self, version: int | None) -> float:
        """Seconds since a version was made, and a few more; 0 without one."""
        folder = versions_folder(self._folder)
        for number in () if version is None else (version, _NEWEST_FIRST - version):
            with contextlib.suppress(OSError):
                return time.time() - (folder / f"{number}.manifest").stat().st_mtime + _MARGIN_SECONDS
        return 0.0

    def _add_columns_for(self, rows: Iterable[Row]) -> None:
        kinds = {"text": "string", "number": "double", "boolean": "boolean", "timestamp": "bigint"}
        have = self._table.schema.names
        room = MOST_EXTRA_COLUMNS - len(set(have) - STORED - PHOTO_COLUMNS.keys())
        if new := new_columns(rows, have, room):
            self._table.add_columns({name: f"CAST(NULL AS {kinds[kind]})" for name, kind in new.items()})

    def _to_arrow(self, rows: Sequence[Row]) -> Any:
        import pyarrow as pa

        schema = self._table.schema
        lines = [to_cells(row) for row in rows]
        arrays = []
        for column in schema:
            if column.name == "vector":
                flat = np.concatenate([np.asarray(row.vector, dtype=np.float32) for row in rows])
                arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), self._dim))
            else:
                cells = [line.get(column.name) for line in lines]
                if column.name not in STORED:
                    cells = [cast(cell, str(column.type)) for cell in cells]
                arrays.append(pa.array(cells, type=column.type))
        return pa.Table.from_arrays(arrays, schema=schema)

    def _make_durable(self) -> None:
        """Flush what the last write made. Lance does not, so a power cut could lose it."""
        folders: list[Path] = []
        there: set[str] = set()
        for base, _, names in os.walk(self._folder / f"{TABLE}.lance"):
            paths = {os.path.join(base, name) for name in names}  # noqa: PTH118
            fresh = paths - self._synced
            for path in fresh:
                with contextlib.suppress(FileNotFoundError):
                    fsync_file(Path(path))
            there |= {path for path in paths if not path.endswith(".json")}  # Lance's only files written again
            if fresh:
                folders.append(Path(base))
        self._synced = there  # without the files that were deleted
        for folder in {*folders, self._folder} if folders else ():
            fsync_folder(folder)


def _among(part: Part, where: Where | None) -> str | None:
    """The expression for those rows of a part for which a filter holds; None for all rows."""
    expressions = [_PARTS[part], None if where is None else to_sql(where)]
    return " AND ".join(f"({one})" for one in expressions if one is not None) or None


@functools.cache
def _session() -> Any:
    """Lance's caches, for all tables of this process. By default they keep every version ever seen, up to gigabytes."""
    import lancedb

    return lancedb.Session(index_cache_size_bytes=_CACHED_BYTES, metadata_cache_size_bytes=_CACHED_BYTES)


def _schema(dim: int) -> Any:
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "timestamp": pa.timestamp("s")}
    fields = [pa.field(name, types[kind], nullable=name != "id") for name, kind in {**COLUMNS, **TRASH_COLUMNS}.items()]
    return pa.schema([*fields, pa.field("vector", pa.list_(pa.float32(), dim))])


def _vectors(column: Any, dim: int) -> Float32[np.ndarray, "n d"]:
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(-1, dim)


def _reason(error: BaseException) -> str:
    """Lance's message without its Rust source line, as one short line."""
    text = re.sub(r",? /\S*\.rs:\d+(:\d+)?\)?", "", " ".join(str(error).split()))
    text = re.sub(r"\. ?Valid fields are .*", "", text.removeprefix("Invalid input, "))
    return text[:200]


@contextlib.contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """What Lance raises as a LibraryError of one line."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        if (meaning := bucket.reason(str(error))) is not None:
            raise LibraryError(f"{what}: {meaning}") from error
        if any(sign in str(error) for sign in _FULL):
            raise LibraryError(
                f"{what}: the disk is full ({escape(_reason(error))}); what was acknowledged is kept and can be "
                f"searched: make room, then run this again"
            ) from error
        raise LibraryError(
            f"{what}: {escape(_reason(error))}; run diptych library verify on the library, and restore a backup or "
            f"index again if it cannot be repaired"
        ) from error
