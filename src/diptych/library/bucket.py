"""A library on object storage: s3://BUCKET/NAME (gs:// and az:// through the same layer), reached by obstore.

The bucket holds what the folder of a library holds, under the same names. Each machine has a working folder for it in
the cache, which holds nothing that cannot be made again: a snapshot for searching, and files that only this machine's
processes lock. obstore and Lance are built on the same Rust library, so both read the same AWS_* variables.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.extras import need
from diptych.core.file_names import escape
from diptych.core.files import cache_folder, write_json

PROBE = "conditions.probe"
_ADDRESS = re.compile(r"(s3|gs|az):/{1,2}([A-Za-z0-9][\w.-]+)/(.*[^/])/?")
_SCHEME = re.compile(r"(s3|gs|az):/|[A-Za-z][A-Za-z0-9+.-]+://")
_CUT = re.compile(r"[?#%]|(^|/)(\.{0,2})(/|$)")  # in a name: what makes two addresses one, or leads out of its folder
_FOLDER = "libraries"
_AT = "@"  # in the name of a working folder: between the bucket, which has none, and its server
_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
_MOST_REASON = 160  # characters
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
# What an error of obstore or Lance contains -> what it means, and what to do.
_REASONS = {
    "NoSuchBucket": "there is no such bucket; make it, or correct the name",
    "RequestTimeTooSkewed": "the server refuses this machine's clock; set the clock, then run this again",
    "169.254.169.254": f"no credentials were found; set {_KEYS}, or run it on a machine that has a role",
    "InvalidAccessKeyId": f"the server does not know the access key; correct {_KEYS}",
    "SignatureDoesNotMatch": f"the server refuses the secret key; correct {_KEYS}",
    "ExpiredToken": "the credentials have expired; get new ones",
    "AccessDenied": "these credentials may not do this; they need to list, read, write and delete objects there",
    "NotImplemented": "the server does not know conditional writes (If-None-Match), which keep two writers apart",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION",
    "error sending request": "the server cannot be reached; check the network and AWS_ENDPOINT",
}
_OF_STORAGE = ('store: "S3"', 'store: "GCS"', 'store: "MicrosoftAzure"', "Generic S3 error", "Generic GCS error",
               "Generic MicrosoftAzure error", "Error performing")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its name in the library, how long it is, when the server wrote it, and which version of it this is."""

    name: str
    bytes: int
    modified: datetime  # by the server's clock
    mark: Mapping[str, Any]  # what a conditional write names


class Bucket:
    """The objects of one library. What goes wrong is a LibraryError of one line."""

    def __init__(self, address: str, store: Any = None) -> None:
        """`store` is obstore's, made for the address when it is left out."""
        self.address = address
        self._obstore = need("obstore", "a library on object storage")
        with self._errors():
            self._store = store or self._obstore.store.from_url(
                address, client_options=_client_options(), retry_config=_RETRIES
            )

    def get(self, name: str) -> bytes | None:
        """The content of an object; None without one."""
        found = self.get_marked(name)
        return None if found is None else found[0]

    def get_marked(self, name: str) -> tuple[bytes, Stored] | None:
        """The content of an object, and what is known about it."""
        with self._errors(), contextlib.suppress(FileNotFoundError):
            try:
                found = self._obstore.get(self._store, name)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise self._error(error) from error
                raise
            return bytes(found.bytes()), _stored(found.meta)
        return None

    def head(self, name: str) -> Stored | None:
        """What is known about an object, without its content."""
        with self._errors(), contextlib.suppress(FileNotFoundError):
            return _stored(self._obstore.head(self._store, name))
        return None

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whatever was there."""
        with self._errors():
            self._obstore.put(self._store, name, data)

    def create(self, name: str, data: bytes) -> Mapping[str, Any] | None:
        """Write an object that is not there yet, and its mark; None when it is there."""
        return self._put_if(name, data, "create")

    def replace(self, name: str, data: bytes, mark: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Write an object in place of the version with this mark, and its new mark; None when it is another by now."""
        return self._put_if(name, data, dict(mark))

    def remove(self, *names: str) -> None:
        """Remove objects; unknown ones are left out."""
        with self._errors(), contextlib.suppress(FileNotFoundError):
            self._obstore.delete(self._store, list(names))

    def names(self, below: str = "", after: str | None = None) -> Iterator[Stored]:
        """The objects below a folder in order of their names, those `after` a name; a request for each thousand."""
        with self._errors():
            for some in self._obstore.list(self._store, below or None, offset=after):
                yield from map(_stored, some)

    def folders(self) -> list[str]:
        """The names of the folders at the top."""
        with self._errors():
            found = self._obstore.list_with_delimiter(self._store)["common_prefixes"]
        return [str(name) for name in found]

    def check_conditions(self) -> None:
        """Raise LibraryError unless the server keeps to the conditions of writes: some ignore them."""
        self.put(PROBE, b"1")
        try:
            if self.create(PROBE, b"2") is not None:
                raise LibraryError(f"{self.address}: {_REASONS['NotImplemented']}; use another server, or a folder")
        finally:
            self.remove(PROBE)

    def _put_if(self, name: str, data: bytes, mode: Any) -> Mapping[str, Any] | None:
        exceptions = self._obstore.exceptions
        with self._errors():
            try:
                return _mark(self._obstore.put(self._store, name, data, mode=mode))
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except LibraryError:
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(error) from error
            raise
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise self._error(error) from error

    def _error(self, error: BaseException) -> LibraryError:
        said = " ".join(str(error).split())
        return LibraryError(f"{self.address}: {reason(said) or said[:_MOST_REASON]}")


def reason(message: str) -> str | None:
    """What an error of object storage means and what to do, in one line; None for another error."""
    for sign, meaning in _REASONS.items():
        if sign in message:
            return meaning
    if any(sign in message for sign in _OF_STORAGE):
        return f"object storage failed ({escape(' '.join(message.split())[:_MOST_REASON])}); run this again"
    return None


def lance_options() -> dict[str, str]:
    """What Lance needs beside the environment. It keeps what it opened by these, so that the endpoint is among them."""
    endpoint = _endpoint()
    return {} if endpoint is None else {"aws_endpoint": endpoint, "allow_http": str(_is_plain(endpoint)).lower()}


def folder_of(library: Path | str) -> Path:
    """The folder of a library; for an address of object storage this machine's working folder for it.

    Raises ConfigError for an address of another scheme, without a bucket or a name, or with a name that is none.
    """
    text = os.fspath(library)
    if not _SCHEME.match(text):
        return Path(library)
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"found the library {text!r}; expected a folder or s3://BUCKET/NAME (or gs://, az://), such as "
            "s3://photos/holidays"
        )
    if _CUT.search(match[3]):
        raise ConfigError(
            f"found the library {text!r}; a name on object storage is without ?, # and %, and no part of it is empty, "
            "'.' or '..'; choose another name"
        )
    return cache_folder() / _FOLDER / match[1] / (match[2] + _server(match[1])) / quote(match[3], safe="")


def address_of(folder: Path) -> str | None:
    """The address that a working folder belongs to; None for the folder of a library."""
    return _address_below(os.path.abspath(cache_folder()), os.path.abspath(folder))  # noqa: PTH100


@functools.lru_cache(maxsize=64)  # asked for each row that is shown
def _address_below(cache: str, folder: str) -> str | None:
    root = os.path.realpath(Path(cache, _FOLDER))
    parts = Path(os.path.relpath(os.path.realpath(folder), root)).parts
    if len(parts) != 3 or parts[0] == os.pardir:
        return None
    return f"{parts[0]}://{parts[1].partition(_AT)[0]}/{unquote(parts[2])}"


def bucket_of(folder: Path) -> Bucket | None:
    """The objects of the library that a working folder belongs to; None for the folder of a library."""
    address = address_of(folder)
    return None if address is None else Bucket(address)


def read_note(folder: Path, name: str) -> Any:
    """A small JSON file of a library, in its folder or bucket; None without one, or for one that is damaged."""
    bucket = bucket_of(folder)
    try:
        data = (folder / name).read_bytes() if bucket is None else bucket.get(name)
        return None if data is None else json.loads(data)
    except (OSError, ValueError):
        return None


def write_note(folder: Path, name: str, value: Any) -> None:
    """Write a small JSON file of a library, whole; None removes it."""
    bucket = bucket_of(folder)
    if bucket is None and value is None:
        (folder / name).unlink(missing_ok=True)
    elif bucket is None:
        write_json(folder / name, value)
    elif value is None:
        bucket.remove(name)
    else:
        bucket.put(name, json.dumps(value).encode())


def shown(folder: Path) -> str:
    """What a person calls the library: its address or its folder."""
    return address_of(folder) or escape(str(folder))


def _endpoint() -> str | None:
    """The server, where it is not that of AWS."""
    return os.environ.get("AWS_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL") or None


def _server(scheme: str) -> str:
    """What tells the folder of a bucket from that of one of the same name on another server; nothing at AWS."""
    endpoint = _endpoint() if scheme == "s3" else None
    return "" if endpoint is None else _AT + quote(endpoint.rstrip("/").lower(), safe="")


def _is_plain(endpoint: str) -> bool:
    return endpoint.startswith("http://")


def _client_options() -> dict[str, Any]:
    endpoint = _endpoint()
    return {} if endpoint is None else {"allow_http": _is_plain(endpoint)}


def _stored(meta: Mapping[str, Any]) -> Stored:
    return Stored(meta["path"], meta["size"], meta["last_modified"], _mark(meta))


def _mark(meta: Mapping[str, Any]) -> dict[str, Any]:
    """S3 and Azure tell versions of an object by an entity tag, Google by a number."""
    return {key: meta[key] for key in ("e_tag", "version") if meta[key] is not None}
