"""The store on a Milvus server: one collection, of live rows and of those in the trash.

A write is acknowledged when the server has it in its log. Every read asks for strong consistency, so that it sees all
acknowledged writes, unless the address allows searches and lists less. A write is a request for each 500 rows or 8 MB,
and one for each 1,000 rows that it removes. Each request is atomic; unlike with Lance, the write as a whole is not.
Rows come first and removals last, so that a crash between them leaves surplus rows and no row is missing.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import heapq
import importlib
import json
import logging
import os
import zlib
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import LibraryError
from diptych.core.extras import need
from diptych.core.file_names import escape
from diptych.core.files import write_json
from diptych.core.shapes import Float32
from diptych.library.card import Card

from .milvus_address import STRONG, TOKEN, Address, parse
from .milvus_filter import to_expression
from .protocol import Feed, Part, Store, earlier_layout
from .row_codec import MOST_EXTRA_COLUMNS, cast, from_cells, new_columns, to_cells
from .rows import COLUMNS, PHOTO_COLUMNS, TRASH_COLUMNS, Row
from .where import AllOf, Condition, Where, holds

_STATE = "server.json"
_SCAN_ROWS = 1000
_WRITE_ROWS = 500  # of a request; 500 rows of 512 dimensions take about 2 MB
_WRITE_BYTES = 8_000_000  # of a request: servers refuse 64 MB
_MOST_ASKED_IDS = 5_000  # in one expression
_MOST_FOUND = 16_384  # the server's own limit
_MOST_TEXT = 65_535  # bytes of a VARCHAR
_MOST_DYNAMIC = 50_000  # bytes of a row's metadata that `where` can ask about; the rest is in `meta` only
_MOST_ASKED = 1000  # characters of a text among them
_SPARSE = ("split", "group")  # of the built-in columns, those that a row may lack
_FIXED = tuple(name for name in COLUMNS if name not in _SPARSE)
_SECONDS = 30.0  # for a request
_KINDS = {"string": "string", "number": "double", "boolean": "bool", "text": "string", "timestamp": "int64"}
# Fields of rows in the trash. No metadata gets names in capitals.
_TRASH = {name: name.upper() for name in TRASH_COLUMNS}
_PARTS = {"live": f"not (exists {_TRASH['deleted_at']})", "trash": f"exists {_TRASH['deleted_at']}", "all": ""}


class MilvusPlace:
    """The collection of one generation of a library. `folder` keeps its version and columns, for readers here."""

    has_own_search = True
    feed: Feed | None = None

    def __init__(self, folder: Path, about: Card) -> None:
        need("pymilvus", "a library on a Milvus server")
        self._folder = folder
        self._address = parse(about.store)
        suffix = f"_g{about.generation}" if about.generation else ""
        self._collection = f"{self._address.collection}{suffix}"
        self._dim = about.dim
        self._connected: Any = None
        self._table: MilvusStore | None = None
        self._reader: MilvusStore | None = None

    def token(self) -> str | None:
        """The version that the last writer in this folder noted."""
        version = _state(self._folder / _STATE).get("version")
        return None if version is None else str(version)

    def store(self) -> Store:
        """The collection of this generation."""
        return self._opened()

    def reader(self) -> Store:
        """The same, with the consistency that the address names."""
        if self._reader is None:
            self._reader = self._opened().reading(self._address.consistency)
        return self._reader

    def at_one_version(self) -> tuple[Store, str]:
        """The collection as it is now: the server keeps no versions."""
        store = self.store()
        return store, self.token() or "0"

    def check_free(self) -> None:
        """Raise LibraryError when the server has a collection of this name already."""
        with server_errors(self._address, "look at"):
            taken = self._client.has_collection(self._collection)
        if taken:
            raise LibraryError(
                f"the server has a collection {self._collection!r} already; choose another name, or copy the folder "
                f"of the library that it belongs to"
            )

    def versions_kept(self) -> int:
        """The server drops what it replaced by itself."""
        return 0

    def drop(self) -> None:
        """Remove the collection, and the notes about it."""
        with server_errors(self._address, "remove"):
            if self._client.has_collection(self._collection):
                self._client.drop_collection(self._collection)
        (self._folder / _STATE).unlink(missing_ok=True)
        self._table = self._reader = None

    def _opened(self) -> MilvusStore:
        if self._table is None:
            if (self._folder / f"trash.{_STATE}").exists():
                raise earlier_layout(self._folder)
            self._table = MilvusStore(self._client, self._address, self._collection, self._dim, self._folder / _STATE)
        return self._table

    @property
    def _client(self) -> Any:
        if self._connected is None:
            self._connected = connect(self._address)
        return self._connected


def connect(address: Address) -> Any:
    """A client. Raises MissingExtraError without pymilvus, LibraryError when the server does not answer."""
    pymilvus = need("pymilvus", "a library on a Milvus server")
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints what it raises
    with server_errors(address, "reach"):
        return pymilvus.MilvusClient(uri=address.uri, token=os.environ.get(TOKEN, ""), timeout=_SECONDS)


class MilvusStore:
    """Rows in one collection. Metadata keys become dynamic fields, so that `where` can ask about them."""

    def __init__(self, client: Any, address: Address, collection: str, dim: int, state: Path) -> None:
        self._client, self._address, self._collection = client, address, collection
        self._dim = dim
        self._state = state
        self._consistency = STRONG
        with server_errors(address, "open"):
            is_new = not client.has_collection(collection)
            if is_new:
                self._create()
            try:
                client.load_collection(collection, replica_number=address.replicas)
            except Exception:
                if is_new:  # such as for more replicas than there are query nodes
                    client.drop_collection(collection)
                raise

    def reading(self, consistency: str) -> MilvusStore:
        """A handle whose reads ask for another consistency than `Strong`."""
        other = copy.copy(self)
        other._consistency = consistency
        return other

    def _create(self) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
        for name, kind in COLUMNS.items():
            if name not in _SPARSE:
                text = {"max_length": _MOST_TEXT}
                is_number = kind == "integer"
                schema.add_field(
                    name,
                    DataType.INT64 if is_number else DataType.VARCHAR,
                    is_primary=name == "id",
                    **({} if is_number else {"max_length": 64} if name == "id" else text),
                )
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._dim)
        index = self._client.prepare_index_params()
        index.add_index(
            "vector", index_type=self._address.index, metric_type="IP", params=self._address.index_parameters
        )
        self._client.create_collection(
            self._collection, schema=schema, index_params=index, consistency_level=STRONG, num_shards=1
        )

    @property
    def version(self) -> int:
        """Grows with every write from this folder."""
        return int(_state(self._state).get("version", 0))

    def count(self, part: Part = "live", where: Where | None = None) -> int:
        """How many rows there are, or how many pass a filter: counted here where the server cannot compare."""
        wanted, is_exact = self._wanted(where)
        if not is_exact:
            return sum(len(found) for found in self._blocks(part, where, ["id"]))
        with server_errors(self._address, "count in"):
            found = self._client.query(
                self._collection,
                filter=_among(wanted, part),
                output_fields=["count(*)"],
                consistency_level=self._consistency,
            )
        return int(found[0]["count(*)"])

    def columns(self) -> Mapping[str, str]:
        """Name -> kind of what `where` may ask about."""
        return {**COLUMNS, **self._extra()}

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """Insert or replace rows by id, then remove others for good; in the server's log on return."""
        if not rows and not remove:
            return
        self._note(self._learnt(rows))
        kept = {row.id for row in rows}
        with server_errors(self._address, "write to"):
            for part in requests(map(self._entity, rows)):
                self._client.upsert(self._collection, part, timeout=_SECONDS)
            gone = sorted(set(remove) - kept)
            for start in range(0, len(gone), _SCAN_ROWS):
                self._client.delete(self._collection, ids=gone[start : start + _SCAN_ROWS], timeout=_SECONDS)
        self._note({})

    def get(self, ids: Collection[str], part: Part = "live", *, vectors: bool = True) -> list[Row]:
        """The rows with these ids, sorted by id; unknown ids are left out."""
        wanted = sorted({one for one in ids if one.isprintable() and len(one) <= 64})
        rows: dict[str, Row] = {}
        fields = [*_FIXED, *(["vector"] if vectors else []), *_TRASH.values()]
        with server_errors(self._address, "read"):
            for start in range(0, len(wanted), _SCAN_ROWS):
                some = f"id in {json.dumps(wanted[start : start + _SCAN_ROWS], ensure_ascii=False)}"
                for found in self._client.query(
                    self._collection,
                    filter=_among(some, part),
                    output_fields=fields,
                    consistency_level=self._consistency,
                ):
                    rows[found["id"]] = _row(found)
        return [rows[identifier] for identifier in sorted(rows)]

    def scan(self, columns: Sequence[str], part: Part = "live", where: Where | None = None) -> Iterator[dict[str, Any]]:
        """Rows in blocks: column -> list of values, or a float32 array for "vector"."""
        fields = {name: _TRASH.get(name, name) for name in columns}
        for found in self._blocks(part, where, list(fields.values())):
            block: dict[str, Any] = {
                name: [line.get(field) for line in found] for name, field in fields.items() if name != "vector"
            }
            if "meta" in block:
                block["meta"] = [_unpacked(cell) for cell in block["meta"]]
            if "vector" in columns:
                block["vector"] = np.array([line["vector"] for line in found], dtype=np.float32)
            yield block

    def matching(self, where: Where) -> list[str]:
        """Ids of the live rows for which a filter over `columns` holds, in order."""
        return sorted(line["id"] for found in self._blocks("live", where, ["id"]) for line in found)

    def page(self, after: str, limit: int, where: Where | None = None) -> list[str]:
        """Ids of the next live rows, in order: the server gives them in the order of the ids."""
        behind = Condition("id", ">", after)
        wanted = behind if where is None else AllOf((behind, where))
        chosen: list[str] = []
        with contextlib.closing(self._blocks("live", wanted, ["id"], most=limit)) as blocks:
            for found in blocks:
                chosen += [line["id"] for line in found]
                if len(chosen) >= limit:
                    break
        return chosen[:limit]

    def check_words(self) -> None:
        """Raise LibraryError: words are not searched by the server."""
        raise LibraryError(
            "words in images can be read and searched in a library in a folder or on object storage, not on a Milvus "
            "server; leave --ocr out"
        )

    def worded(self, text: str, k: int, where: Where | None = None) -> list[str]:
        """As `check_words`."""
        self.check_words()
        return []

    def search(
        self, vectors: Float32[np.ndarray, "q d"], k: int, where: Where | None = None
    ) -> list[list[tuple[str, float]]]:
        """The server's search among live rows, all vectors in one request: exact with the FLAT index.

        Where it cannot compare, it searches among the ids that pass, some thousands at a time.
        """
        wanted, is_exact = self._wanted(where)
        if where is None or is_exact:
            return self._nearest(vectors, k, wanted)
        ids = self.matching(where)
        found: list[list[tuple[str, float]]] = [[] for _ in vectors]
        for start in range(0, len(ids), _MOST_ASKED_IDS):
            some = f"id in {json.dumps(ids[start : start + _MOST_ASKED_IDS])}"
            for best, more in zip(found, self._nearest(vectors, k, some), strict=True):
                best[:] = heapq.nsmallest(k, [*best, *more], key=lambda one: (-one[1], one[0]))
        return found

    def compact(self, keep_seconds: float) -> None:
        """Ask the server to write its log out and to merge what it has; it does so in the background."""
        with server_errors(self._address, "compact"):
            self._client.flush(self._collection)
            self._client.compact(self._collection)

    # -- inside ------------------------------------------------------------------------------------

    def _wanted(self, where: Where | None) -> tuple[str, bool]:
        """A filter as the server's expression, and whether that says all of it."""
        return ("", True) if where is None else to_expression(where, _FIXED)

    def _blocks(
        self, part: Part, where: Where | None, fields: list[str], most: int = _SCAN_ROWS
    ) -> Generator[list[dict[str, Any]], None, None]:
        """These fields of the rows of a part that pass a filter, at most so many at once, in the order of their ids.

        What the server cannot compare is checked here, on the rows that the rest of the filter leaves.
        """
        wanted, is_exact = self._wanted(where)
        asked = fields if is_exact else [*dict.fromkeys([*fields, *_FIXED])]
        extra = {} if is_exact else self._extra()
        with server_errors(self._address, "read"):
            iterator = self._client.query_iterator(
                self._collection,
                batch_size=min(most, _SCAN_ROWS) if is_exact else _SCAN_ROWS,
                filter=_among(wanted, part),
                output_fields=asked,
                consistency_level=self._consistency,
            )
            try:
                while found := iterator.next():
                    if where is None or is_exact:
                        yield found
                    elif passed := [line for line in found if holds(where, _values(line, extra).get)]:
                        yield passed
            finally:
                iterator.close()

    def _nearest(self, vectors: Float32[np.ndarray, "q d"], k: int, expression: str) -> list[list[tuple[str, float]]]:
        limit = min(k, _MOST_FOUND)
        with server_errors(self._address, "search"):
            found = self._client.search(
                self._collection,
                data=np.asarray(vectors, dtype=np.float32).tolist(),
                limit=limit,
                filter=_among(expression, "live"),
                output_fields=["id"],
                search_params={"metric_type": "IP", "params": self._address.search_parameters(limit)},
                consistency_level=self._consistency,
            )
        return [[(hit["id"], float(hit["distance"])) for hit in hits] for hits in found]

    def _entity(self, row: Row) -> dict[str, Any]:
        cells = to_cells(row)
        entity: dict[str, Any] = {"vector": np.asarray(row.vector, dtype=np.float32).tolist()}
        room = _MOST_DYNAMIC
        for name, kind in self._extra().items():
            value = cast(cells.get(name), _KINDS[kind])
            value = value[:_MOST_ASKED] if isinstance(value, str) else value
            room -= 0 if value is None else len(json.dumps([name, value], ensure_ascii=False).encode())
            if value is not None and room > 0:
                entity[name] = value
        for name in COLUMNS:
            if cells[name] is not None:
                entity[name] = cells[name]
        for name, field in _TRASH.items():
            if cells[name] is not None:
                entity[field] = cells[name]
        entity["modified"] = cells["modified"].isoformat(sep=" ")
        entity["texts"] = cells["texts"].encode()[:_MOST_TEXT].decode("utf-8", "ignore")  # whole in `meta`
        entity["meta"] = _packed(cells["meta"], row.path)
        return entity

    def _extra(self) -> dict[str, str]:
        noted = _state(self._state).get("columns", {})
        return {name: kind for name, kind in noted.items() if name not in TRASH_COLUMNS}

    def _learnt(self, rows: Sequence[Row]) -> dict[str, str]:
        """Metadata keys that no row had before, with their kinds."""
        known = self._extra()
        return new_columns(rows, known, MOST_EXTRA_COLUMNS - len(known.keys() - PHOTO_COLUMNS.keys()))

    def _note(self, columns: Mapping[str, str]) -> None:
        """A new version, and new columns: before a write, so that a crash leaves none unseen, and after it."""
        old = _state(self._state)
        self._state.parent.mkdir(parents=True, exist_ok=True)
        noted = {**old.get("columns", {}), **columns}
        write_json(self._state, {"version": int(old.get("version", 0)) + 1, "columns": noted})


def requests(entities: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in parts that a server takes in one request: by their number, and by the bytes of texts and vectors."""
    part: list[dict[str, Any]] = []
    size = 0
    for entity in entities:
        bytes_ = sum(4 * len(cell) if name == "vector" else len(str(cell)) for name, cell in entity.items())
        if part and (len(part) == _WRITE_ROWS or size + bytes_ > _WRITE_BYTES):
            yield part
            part, size = [], 0
        part.append(entity)
        size += bytes_
    if part:
        yield part


def _state(path: Path) -> dict[str, Any]:
    """What the last writer noted; nothing where no one has written."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _packed(meta: str, path: str) -> str:
    """JSON that is too long for a field is kept compressed."""
    packed = meta if len(meta) <= _MOST_TEXT else "z" + base64.b64encode(zlib.compress(meta.encode(), 9)).decode()
    if len(packed) > _MOST_TEXT:
        raise LibraryError(
            f"the texts and metadata of {path} take {len(meta):,} bytes, more than a Milvus server keeps "
            f"({_MOST_TEXT:,} when compressed); shorten them, or use a library in a folder"
        )
    return packed


def _unpacked(meta: str) -> str:
    return zlib.decompress(base64.b64decode(meta[1:])).decode() if meta.startswith("z") else meta


def _row(found: Mapping[str, Any]) -> Row:
    trash = {name: found.get(field) for name, field in _TRASH.items()}
    return from_cells(
        {**found, **trash, "meta": _unpacked(found["meta"])}, np.array(found.get("vector", ()), dtype=np.float32)
    )


def _among(expression: str, part: Part) -> str:
    """An expression for those rows of a part for which another one holds."""
    return " and ".join(f"({one})" for one in (expression, _PARTS[part]) if one)


@contextlib.contextmanager
def server_errors(address: Address, doing: str) -> Iterator[None]:
    """What the server or the connection says, in one line."""
    pymilvus = importlib.import_module("pymilvus")
    try:
        yield
    except (pymilvus.MilvusException, OSError, ValueError) as error:
        reason = escape(" ".join(str(error).split()))[:200]
        raise LibraryError(
            f"cannot {doing} the Milvus server at {address.uri}: {reason}; what was acknowledged is kept there: "
            f"check that it runs and can be reached, and {TOKEN} if it wants credentials; then run this again"
        ) from error


def _values(line: Mapping[str, Any], extra: Mapping[str, str]) -> dict[str, Any]:
    """What a row has in each column, without the limits of the server's fields."""
    row = _row(line)
    cells = to_cells(row)
    return cells | {name: cast(cells.get(name), _KINDS[kind]) for name, kind in extra.items()}
