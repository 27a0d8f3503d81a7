"""The store on a Milvus server: one collection, of live rows and of those in the trash.

A write is acknowledged when the server has it in its log. Every read asks for strong consistency, so that it sees all
acknowledged writes. A write is one request for each 500 rows and one for what it removes. Each request is atomic; the
write as a whole is not, unlike with Lance. Rows come first and removals last, so that a crash between them leaves
surplus rows and no row is missing.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import logging
import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.extras import need
from diptych.core.file_names import escape
from diptych.core.files import write_json
from diptych.core.shapes import Float32
from diptych.library.card import Card

from .milvus_filter import to_expression
from .protocol import Part, Store, earlier_layout
from .row_codec import MOST_EXTRA_COLUMNS, cast, from_cells, new_columns, to_cells
from .rows import COLUMNS, TRASH_COLUMNS, Row
from .where import Where, holds

TOKEN = "DIPTYCH_MILVUS_TOKEN"
_ADDRESS = re.compile(r"milvus(\+tls)?://([^/@?\s]+):(\d{1,5})/([A-Za-z_]\w{0,199})(?:\?index=(FLAT|HNSW))?")
_STATE = "server.json"
_SCAN_ROWS = 1000
_WRITE_ROWS = 500  # of a request; 500 rows of 512 dimensions take about 2 MB
_MOST_FOUND = 16_384  # the server's own limit
_MOST_TEXT = 65_535  # bytes of a VARCHAR
_MOST_DYNAMIC = 50_000  # bytes of a row's metadata that `where` can ask about; the rest is in `meta` only
_MOST_ASKED = 1000  # characters of a text among them
_SPARSE = ("split", "group")  # of the built-in columns, those that a row may lack
_FIXED = tuple(name for name in COLUMNS if name not in _SPARSE)
_SECONDS = 30.0  # for a request
_KINDS = {"string": "string", "number": "double", "boolean": "bool", "text": "string"}
_INDEXES: dict[str, dict[str, Any]] = {"FLAT": {}, "HNSW": {"M": 16, "efConstruction": 200}}
_STRONG = "Strong"
# Fields of rows in the trash. No metadata gets names in capitals.
_TRASH = {name: name.upper() for name in TRASH_COLUMNS}
_PARTS = {"live": f"not (exists {_TRASH['deleted_at']})", "trash": f"exists {_TRASH['deleted_at']}", "all": ""}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and the collection on it. Credentials are never part of it."""

    uri: str
    collection: str
    index: str


def parse(store: str) -> Address:
    """The parts of milvus://HOST:PORT/COLLECTION (milvus+tls:// for TLS, ?index=HNSW for an approximate index).

    Raises ConfigError for another form, and for credentials in it.
    """
    if "@" in store:
        raise ConfigError(f"the address of a store has no credentials in it; put them into {TOKEN}=USER:PASSWORD")
    match = _ADDRESS.fullmatch(store)
    if match is None:
        raise ConfigError(
            f"found the store {store!r}; expected milvus://HOST:PORT/COLLECTION, such as "
            f"milvus://localhost:19530/pictures (milvus+tls:// for TLS, ?index=HNSW for an approximate index)"
        )
    scheme = "https" if match[1] else "http"
    return Address(f"{scheme}://{match[2]}:{match[3]}", match[4], match[5] or "FLAT")


class MilvusPlace:
    """The collection of one generation of a library. `folder` keeps its version and columns, for readers here."""

    has_own_search = True

    def __init__(self, folder: Path, about: Card) -> None:
        need("pymilvus", "a library on a Milvus server")
        self._folder = folder
        self._address = parse(about.store)
        suffix = f"_g{about.generation}" if about.generation else ""
        self._collection = f"{self._address.collection}{suffix}"
        self._dim = about.dim
        self._connected: Any = None
        self._table: MilvusStore | None = None

    def token(self) -> str | None:
        """The version that the last writer in this folder noted."""
        version = _state(self._folder / _STATE).get("version")
        return None if version is None else str(version)

    def store(self) -> Store:
        """The collection of this generation."""
        if self._table is None:
            if (self._folder / f"trash.{_STATE}").exists():
                raise earlier_layout(self._folder)
            self._table = MilvusStore(self._client, self._address, self._collection, self._dim, self._folder / _STATE)
        return self._table

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
        self._table = None

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
        with server_errors(address, "open"):
            if not client.has_collection(collection):
                self._create()
            client.load_collection(collection)

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
        kind = self._address.index
        index.add_index("vector", index_type=kind, metric_type="IP", params=_INDEXES[kind])
        self._client.create_collection(
            self._collection, schema=schema, index_params=index, consistency_level=_STRONG, num_shards=1
        )

    @property
    def version(self) -> int:
        """Grows with every write from this folder."""
        return int(_state(self._state).get("version", 0))

    def count(self, part: Part = "live") -> int:
        """How many rows there are."""
        with server_errors(self._address, "count in"):
            found = self._client.query(
                self._collection, filter=_PARTS[part], output_fields=["count(*)"], consistency_level=_STRONG
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
            for start in range(0, len(rows), _WRITE_ROWS):
                part = [self._entity(row) for row in rows[start : start + _WRITE_ROWS]]
                self._client.upsert(self._collection, part, timeout=_SECONDS)
            gone = sorted(set(remove) - kept)
            for start in range(0, len(gone), _SCAN_ROWS):
                self._client.delete(self._collection, ids=gone[start : start + _SCAN_ROWS], timeout=_SECONDS)
        self._note({})

    def get(self, ids: Collection[str], part: Part = "live") -> list[Row]:
        """The rows with these ids, sorted by id; unknown ids are left out."""
        wanted = sorted({one for one in ids if one.isprintable() and len(one) <= 64})
        rows: dict[str, Row] = {}
        fields = [*_FIXED, "vector", *_TRASH.values()]
        with server_errors(self._address, "read"):
            for start in range(0, len(wanted), _SCAN_ROWS):
                some = f"id in {json.dumps(wanted[start : start + _SCAN_ROWS], ensure_ascii=False)}"
                for found in self._client.query(
                    self._collection,
                    filter=_among(some, part),
                    output_fields=fields,
                    consistency_level=_STRONG,
                ):
                    rows[found["id"]] = _row(found)
        return [rows[identifier] for identifier in sorted(rows)]

    def scan(self, columns: Sequence[str], part: Part = "live") -> Iterator[dict[str, Any]]:
        """Rows in blocks: column -> list of values, or a float32 array for "vector"."""
        fields = {name: _TRASH.get(name, name) for name in columns}
        for found in self._blocks(_PARTS[part], list(fields.values())):
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
        wider, is_exact = to_expression(where, _FIXED)
        expression = _among(wider, "live")
        if is_exact:
            return sorted(line["id"] for found in self._blocks(expression, ["id"]) for line in found)
        extra = self._extra()
        return sorted(
            line["id"]
            for found in self._blocks(expression, list(_FIXED))
            for line in found
            if holds(where, _values(line, extra).get)
        )

    def search(self, vector: Float32[np.ndarray, d], k: int, where: Where | None = None) -> list[tuple[str, float]]:
        """The server's search among live rows: (id, cosine), best first; exact with the FLAT index."""
        wanted, is_exact = ("", True) if where is None else to_expression(where, _FIXED)
        if where is not None and not is_exact:
            wanted = f"id in {json.dumps(self.matching(where))}"
        expression = _among(wanted, "live")
        limit = min(k, _MOST_FOUND)
        parameters = {"ef": max(2 * limit, 64)} if self._address.index == "HNSW" else {}
        with server_errors(self._address, "search"):
            found = self._client.search(
                self._collection,
                data=[np.asarray(vector, dtype=np.float32).tolist()],
                limit=limit,
                filter=expression,
                output_fields=["id"],
                search_params={"metric_type": "IP", "params": parameters},
                consistency_level=_STRONG,
            )
        return [(hit["id"], float(hit["distance"])) for hit in found[0]]

    def compact(self, keep_seconds: float) -> None:
        """Ask the server to write its log out and to merge what it has; it does so in the background."""
        with server_errors(self._address, "compact"):
            self._client.flush(self._collection)
            self._client.compact(self._collection)

    # -- inside ------------------------------------------------------------------------------------

    def _blocks(self, expression: str, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        with server_errors(self._address, "read"):
            iterator = self._client.query_iterator(
                self._collection,
                batch_size=_SCAN_ROWS,
                filter=expression,
                output_fields=fields,
                consistency_level=_STRONG,
            )
            try:
                while found := iterator.next():
                    yield found
            finally:
                iterator.close()

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
        return new_columns(rows, known, MOST_EXTRA_COLUMNS - len(known))

    def _note(self, columns: Mapping[str, str]) -> None:
        """A new version, and new columns: before a write, so that a crash leaves none unseen, and after it."""
        old = _state(self._state)
        self._state.parent.mkdir(parents=True, exist_ok=True)
        noted = {**old.get("columns", {}), **columns}
        write_json(self._state, {"version": int(old.get("version", 0)) + 1, "columns": noted})


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
    return from_cells({**found, **trash, "meta": _unpacked(found["meta"])}, np.array(found["vector"], dtype=np.float32))


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
    row = _row({**line, "vector": ()})
    cells = to_cells(row)
    return cells | {name: cast(cells.get(name), _KINDS[kind]) for name, kind in extra.items()}
