"""A client of `diptych serve`: the same calls, waiting (`Client`) or not (`AsyncClient`), with the library's own `Hit`.

    with Client("http://127.0.0.1:8000") as client:
        for hit in client.search("pictures", "a dog in the snow", k=5).hits:
            print(hit.score, hit.meta["name"])

Answers 429 and 503 are tried again as their Retry-After says, and so is a request whose connection broke before the
answer. Every write has an Idempotency-Key, so that one that was done before the connection broke is not done twice, and
gives the answer that was lost. Everything else that is not an answer raises ServerError, which holds the server's code,
message, hint and request id.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np

from diptych.core.errors import DataError, DiptychError
from diptych.core.extras import needed_by
from diptych.core.shapes import Float32
from diptych.core.types import Hit

with needed_by("diptych.client"):
    import anyio
    import httpx

T = TypeVar("T")

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_BROKE = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)

_TRIES = 4
_LONGEST_PAUSE = 10.0  # seconds
_BROKEN_PAUSE = 0.5  # seconds, after a connection that broke
_KEY = "Idempotency-Key"
_UPLOADED_AT_ONCE = 16  # pictures

Meta = Mapping[str, Any]
Picture = Path | bytes
Query = str | Picture | Float32[np.ndarray, "d"] | Sequence["Term"]


class ServerError(DiptychError):
    """The server said no. `status` is 0 when it could not be reached, or did not answer."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", request_id: str = "") -> None:
        super().__init__(f"{message}{'; ' + hint if hint else ''} ({code}{', ' + request_id if request_id else ''})")
        self.status, self.code, self.message, self.hint, self.request_id = status, code, message, hint, request_id


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a sum: words, a picture, or the id of a picture in the library; a negative weight takes it away."""

    content: str | Picture
    weight: float = 1.0
    is_id: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. Hits' `meta` holds name, width, height and texts too, as the library's own do.

    Where the cross-encoder ranked it holds `cosine` and, if calibrated, `probability`; where it was asked for, `why`.
    """

    hits: tuple[Hit, ...]
    total: int  # pictures that were looked at
    took_ms: float
    version: str
    notes: tuple[str, ...] = ()
    nothing_matches: float | None = None  # probability, where the cross-encoder ranked and is calibrated


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a library."""

    id: str
    name: str
    path: str | None = None
    width: int | None = None
    height: int | None = None
    texts: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of pictures; `next` is the `after` of the following one, None on the last."""

    items: tuple[Item, ...]
    total: int
    next: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one picture. `error` is its code and message when it could not be added."""

    name: str
    id: str | None
    created: bool
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many pictures went, and what `undo` takes."""

    deleted: int
    undo: str | None


@dataclass(frozen=True, slots=True)
class WhyWord:
    """A word of a text: how much it speaks for the match, and where, as a grid over the picture."""

    word: str
    weight: float
    regions: Float32[np.ndarray, "rows columns"]


@dataclass(frozen=True, slots=True)
class Why:
    """Why an image and a text match. Unit of the weights: "cosine" (dual encoder) or "nats" (cross-encoder)."""

    by: str
    model: str
    unit: str
    score: float
    words: tuple[WhyWord, ...]
    from_thumbnail: bool
    overlay: bytes | None = None  # PNG


@dataclass(frozen=True, slots=True)
class Caption:
    """What a model says about a picture."""

    text: str
    log_likelihood: float
    model: str


@dataclass(frozen=True, slots=True)
class Generated:
    """Pictures drawn for a text, as PNG, and the seed that draws them again."""

    pictures: tuple[bytes, ...]
    seed: int
    model: str


@dataclass(frozen=True, slots=True)
class LibraryInfo:
    """A library of the server."""

    name: str
    pictures: int
    model: str
    dim: int
    version: str
    languages: tuple[str, ...]
    features: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """One request, and what to make of its answer. `writes`: it changes a library."""

    method: str
    path: str
    parse: Callable[[Any], T]
    json: Any = None
    params: Mapping[str, Any] | None = None
    data: Mapping[str, str] | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None
    raw: bool = False
    writes: bool = False

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request, to be sent until it is answered: made once, so that all have the same key."""
        given = {"json": self.json, "params": self.params, "data": self.data, "files": self.files}
        options = {name: value for name, value in given.items() if value is not None}
        headers = {_KEY: uuid.uuid4().hex} if self.writes else {}
        return client.build_request(self.method, self.path, headers=headers, **options)

    def result(self, answer: httpx.Response) -> T:
        if answer.is_success:
            try:
                return self.parse(answer.content if self.raw else answer.json())
            except (ValueError, KeyError, TypeError) as error:
                what = f"the answer is not one of diptych serve ({type(error).__name__}: {error})"
                raise ServerError(answer.status_code, "bad_answer", what, "Is this its address?") from error
        try:
            told = answer.json()
        except ValueError:
            told = {}
        if not isinstance(told, dict):
            told = {}
        message = str(told.get("message") or f"the server answered {answer.status_code}")
        code, hint = str(told.get("code", "http_error")), str(told.get("hint", ""))
        raise ServerError(answer.status_code, code, message, hint, str(told.get("request_id", "")))


class _Tries:
    """How often one request is sent, and how long to wait in between."""

    def __init__(self, call: _Call[Any]) -> None:
        self._call, self._left, self._was_sent = call, _TRIES, False

    def pause_after(self, answer: httpx.Response) -> float | None:
        """Seconds to wait before the same request is sent again; None when this is the answer."""
        self._left -= 1
        if answer.status_code not in (429, 503) or not self._left:
            return None
        stated = answer.headers.get("retry-after", "1")
        return min(float(stated) if stated.replace(".", "", 1).isdigit() else 1.0, _LONGEST_PAUSE)

    def pause_without(self, error: httpx.HTTPError) -> float:
        """The same when no answer came. Raises ServerError when it is not to be sent again.

        A connection that broke says nothing about whether the request was done; all our calls may be sent again,
        reads and questions by their nature, writes by their key.
        """
        self._left -= 1
        broke = isinstance(error, _BROKE)
        self._was_sent = self._was_sent or not isinstance(error, _NEVER_SENT)
        if self._left and (broke or (self._was_sent and isinstance(error, httpx.ConnectError))):
            return _BROKEN_PAUSE
        what = type(error).__name__
        if not self._was_sent:
            raise ServerError(0, "unreachable", f"the server cannot be reached ({what})", "Is it running?") from error
        hint = "It may have been done: look before you send it again." if self._call.writes else "Try it again."
        raise ServerError(0, "unanswered", f"the server did not answer ({what})", hint) from error


# -- the calls: built here once, sent by both clients ---------------------------------------------


def _libraries() -> _Call[tuple[LibraryInfo, ...]]:
    def parse(told: Any) -> tuple[LibraryInfo, ...]:
        return tuple(
            LibraryInfo(
                one["name"],
                one["pictures"],
                one["model"],
                one["dim"],
                one["version"],
                tuple(one["languages"]),
                one["features"],
            )
            for one in told["libraries"]
        )

    return _Call("GET", "/libraries", parse)


def _search(
    library: str,
    query: Query,
    k: int,
    filter: Sequence[Mapping[str, Any]],
    where: str | None,
    language: str | None,
    rerank: bool,
    candidates: int | None,
    budget_ms: float | None,
    explain: bool,
) -> _Call[Found]:
    body = {**_as_query(query), "k": k, "filter": list(filter), "where": where, "language": language}
    body |= {"rerank": rerank, "candidates": candidates, "budget_ms": budget_ms, "explain": explain}
    return _Call("POST", f"/libraries/{library}/search", _found, json=body)


def _like(library: str, identifier: str, k: int) -> _Call[Found]:
    return _Call("POST", f"/libraries/{library}/search", _found, json={"image": {"id": identifier}, "k": k})


def _items(library: str, limit: int, after: str | None, filter: Sequence[Mapping[str, Any]]) -> _Call[Page]:
    params = {"limit": limit, "filter": json.dumps(list(filter))} | ({"after": after} if after else {})

    def parse(told: Any) -> Page:
        return Page(tuple(map(_item, told["items"])), told["total"], told["next"], tuple(told["notes"]))

    return _Call("GET", f"/libraries/{library}/items", parse, params=params)


def _get(library: str, identifier: str) -> _Call[Item]:
    return _Call("GET", f"/libraries/{library}/items/{identifier}", _item)


def _add(library: str, pictures: Sequence[Picture], meta: Meta | None, texts: Sequence[str]) -> _Call[list[Added]]:
    files = [("files", (_name(picture), _bytes(picture))) for picture in pictures]
    data = {"meta": json.dumps(dict(meta or {})), "texts": json.dumps(list(texts))}

    def parse(told: Any) -> list[Added]:
        return [
            Added(
                one["name"],
                one["id"],
                one["created"],
                (one["error"]["code"], one["error"]["message"]) if one["error"] else None,
            )
            for one in told["added"]
        ]

    return _Call("POST", f"/libraries/{library}/items", parse, data=data, files=files, writes=True)


def _describe(library: str, identifier: str, meta: Meta | None, texts: Sequence[str] | None) -> _Call[Item]:
    body = {"meta": dict(meta or {}), "texts": None if texts is None else list(texts)}
    return _Call("PATCH", f"/libraries/{library}/items/{identifier}", _item, json=body, writes=True)


def _delete(library: str, ids: Sequence[str], filter: Sequence[Mapping[str, Any]]) -> _Call[Deleted]:
    body = {"ids": list(ids), "filter": list(filter)}
    return _Call("POST", f"/libraries/{library}/items/delete", lambda told: Deleted(**told), json=body, writes=True)


def _undo(library: str, token: str) -> _Call[int]:
    body = {"token": token}
    return _Call("POST", f"/libraries/{library}/undo", lambda told: int(told["restored"]), json=body, writes=True)


def _thumbnail(library: str, identifier: str) -> _Call[bytes]:
    return _Call("GET", f"/libraries/{library}/items/{identifier}/thumbnail", bytes, raw=True)


def _explain(library: str, identifier: str, text: str, by: str) -> _Call[Why]:
    return _Call("GET", f"/libraries/{library}/items/{identifier}/why", _why, params={"text": text, "by": by})


def _caption(picture: Picture | str, library: str | None, decode: str, seed: int) -> _Call[Caption]:
    image = {"id": picture} if isinstance(picture, str) else {"data": _data_uri(picture)}
    body = {"image": image, "library": library, "decode": decode, "seed": seed}
    return _Call("POST", "/caption", lambda told: Caption(**told), json=body)


def _generate(text: str, seed: int | None, count: int, language: str) -> _Call[Generated]:
    def parse(told: Any) -> Generated:
        return Generated(tuple(_from_uri(one["data"]) for one in told["pictures"]), told["seed"], told["model"])

    body = {"text": text, "seed": seed, "count": count, "language": language}
    return _Call("POST", "/generate", parse, json=body)


def _embed(inputs: Sequence[str | Picture], model: str | None) -> _Call[Float32[np.ndarray, "n d"]]:
    values = [one if isinstance(one, str) else _data_uri(one) for one in inputs]

    def parse(told: Any) -> Float32[np.ndarray, "n d"]:
        rows = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in told["data"]]
        return np.stack(rows).astype(np.float32)

    body = {"input": values, "model": model, "encoding_format": "base64"}
    return _Call("POST", "/v1/embeddings", parse, json=body)


def _rerank(
    query: str | Picture, documents: Sequence[str | Picture], top_n: int | None
) -> _Call[list[tuple[int, float]]]:
    body = {
        "query": query if isinstance(query, str) else _data_uri(query),
        "documents": [one if isinstance(one, str) else _data_uri(one) for one in documents],
        "top_n": top_n,
    }

    def parse(told: Any) -> list[tuple[int, float]]:
        return [(int(one["index"]), float(one["relevance_score"])) for one in told["results"]]

    return _Call("POST", "/v1/rerank", parse, json=body)


def _as_query(query: Query) -> dict[str, Any]:
    if isinstance(query, str):
        return {"text": query}
    if isinstance(query, Path | bytes):
        return {"image": {"data": _data_uri(query)}}
    if isinstance(query, np.ndarray):
        return {"vector": [float(value) for value in query]}
    return {"terms": [_as_term(term) for term in query]}


def _as_term(term: Term) -> dict[str, Any]:
    if isinstance(term.content, str):
        return {"weight": term.weight} | ({"image": {"id": term.content}} if term.is_id else {"text": term.content})
    return {"weight": term.weight, "image": {"data": _data_uri(term.content)}}


def _name(picture: Picture) -> str:
    return picture.name if isinstance(picture, Path) else "picture"


def _bytes(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return picture.read_bytes()
    except OSError as error:
        raise DataError(f"cannot open {picture}: {error.strerror or error}") from error


def _data_uri(picture: Picture) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(_bytes(picture)).decode("ascii")


def _found(told: Any) -> Found:
    hits = tuple(
        Hit(one["rank"] - 1, one["id"], one["score"], one["path"], _meta(one), one["scored_by"]) for one in told["hits"]
    )
    doubt = told.get("nothing_matches")
    return Found(hits, told["total"], told["took_ms"], told["version"], tuple(told["notes"]), doubt)


def _why(told: Any) -> Why:
    words = tuple(
        WhyWord(one["word"], one["weight"], np.array(one["regions"], dtype=np.float32)) for one in told["words"]
    )
    overlay = None if told["overlay"] is None else _from_uri(told["overlay"])
    return Why(told["by"], told["model"], told["unit"], told["score"], words, told["from_thumbnail"], overlay)


def _from_uri(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def _meta(told: Mapping[str, Any]) -> dict[str, Any]:
    seen = {"cosine": told.get("cosine"), "probability": told.get("relevance")}
    why = told.get("why")
    return {
        **told["meta"],
        **{key: value for key, value in seen.items() if value is not None},
        **({} if why is None else {"why": _why(why)}),
        "name": told["name"],
        "width": told["width"],
        "height": told["height"],
        "texts": told["texts"],
    }


def _item(told: Any) -> Item:
    return Item(**{**told, "texts": tuple(told["texts"])})


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


class Client:
    """Waits for each answer. Use it in a `with` block, or call `close`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(token), timeout=timeout, transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def libraries(self) -> tuple[LibraryInfo, ...]:
        """All libraries of the server."""
        return self._run(_libraries())

    def search(
        self,
        library: str,
        query: Query,
        k: int = 20,
        *,
        filter: Sequence[Mapping[str, Any]] = (),
        where: str | None = None,
        language: str | None = None,
        rerank: bool = False,
        candidates: int | None = None,
        budget_ms: float | None = None,
        explain: bool = False,
    ) -> Found:
        """The k nearest pictures to words, a picture (path or bytes), a vector or a sum of terms, best first.

        `rerank`: the cross-encoder puts the first `candidates` in order (as many as fit it, or `budget_ms`).
        `explain`: the first three say why.
        """
        return self._run(_search(library, query, k, filter, where, language, rerank, candidates, budget_ms, explain))

    def like(self, library: str, identifier: str, k: int = 20) -> Found:
        """The k pictures nearest to one of the library's own."""
        return self._run(_like(library, identifier, k))

    def items(
        self, library: str, *, limit: int = 50, after: str | None = None, filter: Sequence[Mapping[str, Any]] = ()
    ) -> Page:
        """A page of the library's pictures, by id."""
        return self._run(_items(library, limit, after, filter))

    def item(self, library: str, identifier: str) -> Item:
        """One picture."""
        return self._run(_get(library, identifier))

    def add(
        self,
        library: str,
        pictures: Sequence[Picture],
        *,
        meta: Meta | None = None,
        texts: Sequence[str] = (),
    ) -> list[Added]:
        """Upload pictures, a few at a time; durable on return. A bad one has its error in its place."""
        added: list[Added] = []
        for start in range(0, len(pictures), _UPLOADED_AT_ONCE):
            some = self._run(_add(library, pictures[start : start + _UPLOADED_AT_ONCE], meta, texts))
            added += some
        return added

    def describe(
        self,
        library: str,
        identifier: str,
        *,
        meta: Meta | None = None,
        texts: Sequence[str] | None = None,
    ) -> Item:
        """Set keys of the metadata (None drops one), replace the texts."""
        return self._run(_describe(library, identifier, meta, texts))

    def delete(self, library: str, ids: Sequence[str] = (), *, filter: Sequence[Mapping[str, Any]] = ()) -> Deleted:
        """Forget pictures by id or by filter."""
        return self._run(_delete(library, ids, filter))

    def undo(self, library: str, token: str) -> int:
        """Take a deletion back. Returns how many pictures came back."""
        return self._run(_undo(library, token))

    def thumbnail(self, library: str, identifier: str) -> bytes:
        """The JPEG thumbnail of a picture."""
        return self._run(_thumbnail(library, identifier))

    def why(self, library: str, identifier: str, text: str, *, by: str = "fast") -> Why:
        """What each word of a text hangs on in a picture: by the dual encoder, or the cross-encoder."""
        return self._run(_explain(library, identifier, text, by))

    def caption(
        self, picture: Picture | str, *, library: str | None = None, decode: str = "beam", seed: int = 0
    ) -> Caption:
        """A picture (path, bytes, or the id of one in `library`) in words."""
        return self._run(_caption(picture, library, decode, seed))

    def generate(self, text: str, *, seed: int | None = None, count: int = 1, language: str = "") -> Generated:
        """Pictures for a text; without a seed the server draws one."""
        return self._run(_generate(text, seed, count, language))

    def embed(self, inputs: Sequence[str | Picture], *, model: str | None = None) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of texts and pictures."""
        return self._run(_embed(inputs, model))

    def rerank(
        self, query: str | Picture, documents: Sequence[str | Picture], *, top_n: int | None = None
    ) -> list[tuple[int, float]]:
        """(place in `documents`, relevance in [0, 1]), best first."""
        return self._run(_rerank(query, documents, top_n))

    def _run(self, call: _Call[T]) -> T:
        request, tries = call.request(self._http), _Tries(call)
        while True:
            try:
                answer = self._http.send(request)
            except httpx.HTTPError as error:
                pause: float | None = tries.pause_without(error)
            else:
                pause = tries.pause_after(answer)
                if pause is None:
                    return call.result(answer)
            time.sleep(pause or 0.0)


class AsyncClient:
    """The same calls, awaited. Use it in an `async with` block, or await `close`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(token), timeout=timeout, transport=transport)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def libraries(self) -> tuple[LibraryInfo, ...]:
        """All libraries of the server."""
        return await self._run(_libraries())

    async def search(
        self,
        library: str,
        query: Query,
        k: int = 20,
        *,
        filter: Sequence[Mapping[str, Any]] = (),
        where: str | None = None,
        language: str | None = None,
        rerank: bool = False,
        candidates: int | None = None,
        budget_ms: float | None = None,
        explain: bool = False,
    ) -> Found:
        """As `Client.search`."""
        return await self._run(
            _search(library, query, k, filter, where, language, rerank, candidates, budget_ms, explain)
        )

    async def like(self, library: str, identifier: str, k: int = 20) -> Found:
        """As `Client.like`."""
        return await self._run(_like(library, identifier, k))

    async def items(
        self, library: str, *, limit: int = 50, after: str | None = None, filter: Sequence[Mapping[str, Any]] = ()
    ) -> Page:
        """As `Client.items`."""
        return await self._run(_items(library, limit, after, filter))

    async def item(self, library: str, identifier: str) -> Item:
        """As `Client.item`."""
        return await self._run(_get(library, identifier))

    async def add(
        self,
        library: str,
        pictures: Sequence[Picture],
        *,
        meta: Meta | None = None,
        texts: Sequence[str] = (),
    ) -> list[Added]:
        """As `Client.add`."""
        added: list[Added] = []
        for start in range(0, len(pictures), _UPLOADED_AT_ONCE):
            some = await self._run(_add(library, pictures[start : start + _UPLOADED_AT_ONCE], meta, texts))
            added += some
        return added

    async def describe(
        self,
        library: str,
        identifier: str,
        *,
        meta: Meta | None = None,
        texts: Sequence[str] | None = None,
    ) -> Item:
        """As `Client.describe`."""
        return await self._run(_describe(library, identifier, meta, texts))

    async def delete(
        self, library: str, ids: Sequence[str] = (), *, filter: Sequence[Mapping[str, Any]] = ()
    ) -> Deleted:
        """As `Client.delete`."""
        return await self._run(_delete(library, ids, filter))

    async def undo(self, library: str, token: str) -> int:
        """As `Client.undo`."""
        return await self._run(_undo(library, token))

    async def thumbnail(self, library: str, identifier: str) -> bytes:
        """As `Client.thumbnail`."""
        return await self._run(_thumbnail(library, identifier))

    async def why(self, library: str, identifier: str, text: str, *, by: str = "fast") -> Why:
        """As `Client.why`."""
        return await self._run(_explain(library, identifier, text, by))

    async def caption(
        self, picture: Picture | str, *, library: str | None = None, decode: str = "beam", seed: int = 0
    ) -> Caption:
        """As `Client.caption`."""
        return await self._run(_caption(picture, library, decode, seed))

    async def generate(self, text: str, *, seed: int | None = None, count: int = 1, language: str = "") -> Generated:
        """As `Client.generate`."""
        return await self._run(_generate(text, seed, count, language))

    async def embed(self, inputs: Sequence[str | Picture], *, model: str | None = None) -> Float32[np.ndarray, "n d"]:
        """As `Client.embed`."""
        return await self._run(_embed(inputs, model))

    async def rerank(
        self, query: str | Picture, documents: Sequence[str | Picture], *, top_n: int | None = None
    ) -> list[tuple[int, float]]:
        """As `Client.rerank`."""
        return await self._run(_rerank(query, documents, top_n))

    async def _run(self, call: _Call[T]) -> T:
        request, tries = call.request(self._http), _Tries(call)
        while True:
            try:
                answer = await self._http.send(request)
            except httpx.HTTPError as error:
                pause: float | None = tries.pause_without(error)
            else:
                pause = tries.pause_after(answer)
                if pause is None:
                    return call.result(answer)
            await anyio.sleep(pause or 0.0)
