"""The address of a Milvus server, of a collection on it, and how that is indexed, kept in memory and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from diptych.core.errors import ConfigError

TOKEN = "DIPTYCH_MILVUS_TOKEN"
_ADDRESS = re.compile(r"milvus(\+tls)?://([^/@?\s]+):(\d{1,5})/([A-Za-z_]\w{0,199})(?:\?(\S*))?")
_LISTS = 1024  # of the indexes that divide the vectors into lists; a search reads _PROBES of them
_PROBES = 64
_INDEXES: dict[str, dict[str, Any]] = {  # how each is built
    "FLAT": {},
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": _LISTS},
    "IVF_SQ8": {"nlist": _LISTS},
    "SCANN": {"nlist": _LISTS},
    "DISKANN": {},
    "AUTOINDEX": {},
}
STRONG = "Strong"
_SETTINGS = {
    "index": tuple(_INDEXES),
    "replicas": tuple(map(str, range(1, 17))),
    "consistency": (STRONG, "Bounded", "Session", "Eventually"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and the collection on it. Credentials are never part of it."""

    uri: str
    collection: str
    index: str = "FLAT"  # of _INDEXES; FLAT is exact
    replicas: int = 1  # copies of the collection in the memory of as many query nodes
    consistency: str = STRONG  # of searches, lists and counts; writers always read what was acknowledged

    @property
    def index_parameters(self) -> dict[str, Any]:
        """How its index is built."""
        return _INDEXES[self.index]

    def search_parameters(self, k: int) -> dict[str, Any]:
        """How far a search for k rows looks."""
        wide = max(2 * k, 64)
        if self.index == "HNSW":
            return {"ef": wide}
        if self.index == "DISKANN":
            return {"search_list": wide}
        if self.index == "SCANN":
            return {"nprobe": _PROBES, "reorder_k": wide}
        return {"nprobe": _PROBES} if self.index.startswith("IVF") else {}


def parse(store: str) -> Address:
    """The parts of milvus://HOST:PORT/COLLECTION (milvus+tls:// for TLS), with ?index=, &replicas= and &consistency=.

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
    return Address(f"{scheme}://{match[2]}:{match[3]}", match[4], **_settings(store, match[5] or ""))


def _settings(store: str, text: str) -> dict[str, Any]:
    """What stands behind the ? of an address: index, replicas, consistency. Raises ConfigError."""
    found: dict[str, Any] = {}
    for name, _, value in (part.partition("=") for part in text.split("&") if text):
        if name not in _SETTINGS or name in found:
            wrong = "is there twice" if name in found else "is not known"
            raise ConfigError(
                f"the setting {name!r} of the store {store!r} {wrong}; choose from {', '.join(_SETTINGS)}"
            )
        if value not in _SETTINGS[name]:
            raise ConfigError(f"the store {store!r} has {name} {value!r}; choose from {', '.join(_SETTINGS[name])}")
        found[name] = int(value) if name == "replicas" else value
    return found
