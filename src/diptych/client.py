"""A client of `diptych serve`: the same calls, blocking (`Client`) or async (`AsyncClient`), with the library's `Hit`.

    with Client("http://127.0.0.1:8000") as client:
        for hit in client.search("images", "a dog in the snow", k=5).hits:
            print(hit.score, hit.meta["name"])

Answers 429 and 503 are tried again as their Retry-After says, and so is a request whose connection broke before the
answer. Every write has an Idempotency-Key: when it was done before the connection broke, it is not done twice, and the
next try gets its answer. Everything else that is not a success raises ServerError, which holds the server's code,
message, hint and request id.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np

from diptych.core.errors import DataError, DiptychError
from diptych.core.extras import needed_by
from diptych.core.shapes import Float32
from diptych.core.types import Hit

with needed_by("diptych.client"):
    import anyio
    import httpx

P = ParamSpec("P")
T = TypeVar("T")

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_BROKE = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)

_TRIES = 4
_LONGEST_PAUSE = 10.0  # seconds
_BROKEN_PAUSE = 0.5  # seconds, after a connection that broke
_KEY = "Idempotency-Key"
_UPLOADED_AT_ONCE = 16  # images

Meta = Mapping[str, Any]
Image = Path | bytes
Query = str | Image | Float32[np.ndarray, "d"] | Sequence["Term"]


class ServerError(DiptychError):
    """The server refused. `status` is 0 when it could not be reached, or did not answer."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", request_id: str = "") -> None:
        super().__init__(f"{message}{'; ' + hint if hint else ''} ({code}{', ' + request_id if request_id else ''})")
        self.status, self.code, self.message, self.hint, self.request_id = status, code, message, hint, request_id


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a sum: words, an image, or the id of an image in the library; a negative weight takes it away."""

    content: str | Image
    weight: float = 1.0
    is_id: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. Hits' `meta` holds name, width, height and texts too, as the library's own do.

    Where the cross-encoder ranked it holds `cosine` and, if calibrated, `probability`; where a model ranked that judges
    pairs itself (SigLIP), its `probability`; where they were asked for, `why`, and with only_relevant `belongs`, the
    calibrated probability that it belongs to the query, and with ocr `words_in_image`.
    """

    hits: tuple[Hit, ...]
    total: int  # images that passed the filter
    took_ms: float
    version: str
    notes: tuple[str, ...] = ()
    hidden: int = 0  # of the k nearest, those that only_relevant left out
    nothing_matches: float | None = None  # probability, where the cross-encoder ranked and is calibrated


@dataclass(frozen=True, slots=True)
class Item:
    """An image of a library."""

    id: str
    name: str
    path: str | None = None
    width: int | None = None
    height: int | None = None
    texts: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of images; `next` is the `after` of the following one, None on the last."""

    items: tuple[Item, ...]
    total: int
    next: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one image. `error` is its code and message when it could not be added."""

    name: str
    id: str | None
    created: bool
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many images were deleted, and the token that `undo` takes."""

    deleted: int
    undo: str | None


@dataclass(frozen=True, slots=True)
class Classified:
    """The labels of an image with their scores, best first; `label` is None for none of them.

    `scored_by` is "probability" for a model that keeps its temperature, else "cosine".
    """

    label: str | None
    scores: tuple[tuple[str, float], ...]
    scored_by: str


@dataclass(frozen=True, slots=True)
class Related:
    """Whether a pair is related, how likely that is, and the scores behind it.

    `related` and `probability` are None where nothing was calibrated; `origin` says what they come from.
    """

    kind: str
    related: bool | None
    probability: float | None
    scores: Mapping[str, float]
    origin: str = ""


@dataclass(frozen=True, slots=True)
class WhyWord:
    """A word of a text: how much it speaks for the match, and where, as a grid over the image."""

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
    """What a model says about an image."""

    text: str
    log_likelihood: float
    model: str


@dataclass(frozen=True, slots=True)
class Generated:
    """Images drawn for a text, as PNG, and the seed that draws them again."""

    images: tuple[bytes, ...]
    seed: int
    model: str


@dataclass(frozen=True, slots=True)
class LibraryInfo:
    """A library of the server."""

    name: str
    images: int
    model: str
    dim: int
    version: str
    languages: tuple[str, ...]
    features: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """One request, and how to read its answer. `writes`: it changes a library."""

    method: str
    path: str
    parse: Callable[[Any], T]
    body: Mapping[str, Any] = field(default_factory=dict)  # what httpx takes: json, params, data, files
    raw: bool = False
    writes: bool = False

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request, made once and sent until it is answered, so that each try has the same key."""
        headers = {_KEY: uuid.uuid4().hex} if self.writes else {}
        return client.build_request(self.method, self.path, headers=headers, **self.body)

    def result(self, answer: httpx.Response) -> T:
        """What the answer says. Raises ServerError for one that is not a success, or not of our server."""
        if answer.is_success:
            try:
                return self.parse(answer.content if self.raw else answer.json())
            except (ValueError, KeyError, TypeError) as error:
                what = f"the answer is not one of diptych serve ({type(error).__name__}: {error})"
                raise ServerError(answer.status_code, "bad_answer", what, "Is this its address?") from error
        try:
            problem = dict(answer.json())
        except (ValueError, TypeError):
            problem = {}
        message = str(problem.get("message") or f"the server answered {answer.status_code}")
        code, hint = str(problem.get("code", "http_error")), str(problem.get("hint", ""))
        raise ServerError(answer.status_code, code, message, hint, str(problem.get("request_id", "")))


class _Tries:
    """How often one request is sent, and how long to wait in between."""

    def __init__(self, call: _Call[Any]) -> None:
        self._call, self._left, self._was_sent = call, _TRIES, False

    def pause_after(self, answer: httpx.Response | httpx.HTTPError) -> float | None:
        """Seconds to wait before the same request is sent again; None when the answer is to be used.

        A connection that broke says nothing about whether the request was done. All our calls may be sent again:
        reads by their nature, writes by their key. Raises ServerError when no answer came and no try is left.
        """
        self._left -= 1
        if isinstance(answer, httpx.Response):
            if answer.status_code not in (429, 503) or not self._left:
                return None
            stated = answer.headers.get("retry-after", "1")
            return min(float(stated) if stated.replace(".", "", 1).isdigit() else 1.0, _LONGEST_PAUSE)
        self._was_sent = self._was_sent or not isinstance(answer, _NEVER_SENT)
        broke = isinstance(answer, _BROKE) or (self._was_sent and isinstance(answer, httpx.ConnectError))
        if self._left and broke:
            return _BROKEN_PAUSE
        what = type(answer).__name__
        if not self._was_sent:
            raise ServerError(0, "unreachable", f"the server cannot be reached ({what})", "Is it running?") from answer
        hint = "It may have been done: look before you send it again." if self._call.writes else "Try it again."
        raise ServerError(0, "unanswered", f"the server did not answer ({what})", hint) from answer


# -- the calls: each is written once here; `Client` blocks, `AsyncClient` awaits -------------------


def _libraries() -> _Call[tuple[LibraryInfo, ...]]:
    """All libraries of the server."""
    return _Call("GET", "/libraries", lambda found: tuple(_made(LibraryInfo, one) for one in found["libraries"]))


def _search(
    library: str,
    query: Query,
    k: int = 20,
    *,
    filter: Sequence[Mapping[str, Any]] = (),
    where: str | None = None,
    near: tuple[float, float] | None = None,
    km: float = 5.0,
    sort: str = "score",
    language: str | None = None,
    rerank: bool = False,
    candidates: int | None = None,
    budget_ms: float | None = None,
    only_relevant: bool = False,
    ocr: bool = False,
    explain: bool = False,
) -> _Call[Found]:
    """The k nearest images to words, an image (path or bytes), a vector or a sum of terms, best first.

    `near`: only images taken within `km` of this latitude and longitude, in degrees.
    `sort`: the order of the k nearest: score, taken (the newest photo first) or size (most pixels first).
    `rerank`: the cross-encoder orders the first `candidates` (as many as fit it, or `budget_ms`).
    `only_relevant`: those that hardly belong to the words or the image are left out, and counted in `hidden`.
    `ocr`: images are found by the words inside them too.
    `explain`: the first three say why.
    """
    options = {"k": k, "filter": list(filter), "where": where, "language": language, "rerank": rerank}
    options |= {"near": near and {"latitude": near[0], "longitude": near[1], "km": km}, "sort": sort}
    options |= {
        "candidates": candidates,
        "budget_ms": budget_ms,
        "explain": explain,
        "only_relevant": only_relevant,
        "ocr": ocr,
    }
    return _Call("POST", f"/libraries/{library}/search", _found, {"json": {**_as_query(query), **options}})


def _like(library: str, identifier: str, k: int = 20) -> _Call[Found]:
    """The k images nearest to one of the library's own."""
    body = {"image": {"id": identifier}, "k": k}
    return _Call("POST", f"/libraries/{library}/search", _found, {"json": body})


def _items(
    library: str,
    *,
    limit: int = 50,
    after: str | None = None,
    filter: Sequence[Mapping[str, Any]] = (),
    sort: str = "id",
) -> _Call[Page]:
    """A page of the library's images, in order of `sort`: id, taken (the newest photo first) or size (most pixels)."""
    params = {"limit": limit, "filter": json.dumps(list(filter)), "sort": sort} | ({"after": after} if after else {})

    def parse(found: Any) -> Page:
        return _made(Page, {**found, "items": [_made(Item, one) for one in found["items"]]})

    return _Call("GET", f"/libraries/{library}/items", parse, {"params": params})


def _item(library: str, identifier: str) -> _Call[Item]:
    """One image."""
    return _Call("GET", f"/libraries/{library}/items/{identifier}", partial(_made, Item))


def _add(
    library: str, images: Sequence[Image], meta: Meta | None, texts: Sequence[str]
) -> Iterator[_Call[list[Added]]]:
    """Uploads of a few images each."""
    data = {"meta": json.dumps(dict(meta or {})), "texts": json.dumps(list(texts))}

    def parse(found: Any) -> list[Added]:
        errors = [one["error"] and (one["error"]["code"], one["error"]["message"]) for one in found["added"]]
        return [_made(Added, {**one, "error": error}) for one, error in zip(found["added"], errors, strict=True)]

    for start in range(0, len(images), _UPLOADED_AT_ONCE):
        files = [("files", (_name(one), _bytes(one))) for one in images[start : start + _UPLOADED_AT_ONCE]]
        yield _Call("POST", f"/libraries/{library}/items", parse, {"data": data, "files": files}, writes=True)


def _describe(
    library: str, identifier: str, *, meta: Meta | None = None, texts: Sequence[str] | None = None
) -> _Call[Item]:
    """Set keys of the metadata (None drops one), replace the texts."""
    body = {"meta": dict(meta or {}), "texts": None if texts is None else list(texts)}
    path = f"/libraries/{library}/items/{identifier}"
    return _Call("PATCH", path, partial(_made, Item), {"json": body}, writes=True)


def _delete(library: str, ids: Sequence[str] = (), *, filter: Sequence[Mapping[str, Any]] = ()) -> _Call[Deleted]:
    """Move images into the trash, by id or by filter."""
    body = {"ids": list(ids), "filter": list(filter)}
    return _Call("POST", f"/libraries/{library}/items/delete", partial(_made, Deleted), {"json": body}, writes=True)


def _undo(library: str, token: str) -> _Call[int]:
    """Take a deletion back. Returns how many images came back."""
    body = {"json": {"token": token}}
    return _Call("POST", f"/libraries/{library}/undo", lambda found: int(found["restored"]), body, writes=True)


def _thumbnail(library: str, identifier: str) -> _Call[bytes]:
    """The JPEG thumbnail of an image."""
    return _Call("GET", f"/libraries/{library}/items/{identifier}/thumbnail", bytes, raw=True)


def _export(library: str, ids: Sequence[str], *, format: str = "csv") -> _Call[bytes]:
    """What is known about these images as `csv` or `json`, or `zip`: their files with such a table, all in memory."""
    body = {"ids": list(ids), "format": format}
    return _Call("POST", f"/libraries/{library}/items/export", bytes, {"json": body}, raw=True)


def _why(library: str, identifier: str, text: str, *, by: str = "occlusion") -> _Call[Why]:
    """How much each word of a text counts, and where in the image.

    By "occlusion": regions and words are left out (dual encoder). By "attention": what the cross-encoder attends to.
    """
    params = {"text": text, "by": by}
    return _Call("GET", f"/libraries/{library}/items/{identifier}/why", _as_why, {"params": params})


def _caption(image: Image | str, *, library: str | None = None, decode: str = "beam", seed: int = 0) -> _Call[Caption]:
    """What an image (path, bytes, or the id of one in `library`) shows, in words."""
    source = {"id": image} if isinstance(image, str) else {"data": _data_uri(image)}
    body = {"image": source, "library": library, "decode": decode, "seed": seed}
    return _Call("POST", "/caption", partial(_made, Caption), {"json": body})


def _generate(text: str, *, seed: int | None = None, count: int = 1, language: str = "") -> _Call[Generated]:
    """Images for a text; without a seed the server draws one."""
    body = {"text": text, "seed": seed, "count": count, "language": language}

    def parse(found: Any) -> Generated:
        return _made(Generated, {**found, "images": [_from_uri(one["data"]) for one in found["images"]]})

    return _Call("POST", "/generate", parse, {"json": body})


def _embed(inputs: Sequence[str | Image], *, model: str | None = None) -> _Call[Float32[np.ndarray, "n d"]]:
    """Unit vectors of texts and images."""
    body = {"input": list(map(_text_or_uri, inputs)), "model": model, "encoding_format": "base64"}

    def parse(found: Any) -> Float32[np.ndarray, "n d"]:
        rows = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in found["data"]]
        return np.stack(rows).astype(np.float32)

    return _Call("POST", "/v1/embeddings", parse, {"json": body})


def _rerank(
    query: str | Image, documents: Sequence[str | Image], *, top_n: int | None = None
) -> _Call[list[tuple[int, float]]]:
    """(place in `documents`, relevance in [0, 1]), best first."""
    body = {"query": _text_or_uri(query), "documents": list(map(_text_or_uri, documents)), "top_n": top_n}

    def parse(found: Any) -> list[tuple[int, float]]:
        return [(int(one["index"]), float(one["relevance_score"])) for one in found["results"]]

    return _Call("POST", "/v1/rerank", parse, {"json": body})


def _classify(
    images: Sequence[Image],
    labels: Sequence[str] | Mapping[str, str | Sequence[str]],
    *,
    templates: str | Sequence[str] = "photo",
    top: int = 5,
    least: float | None = None,
    model: str | None = None,
) -> _Call[list[Classified]]:
    """The nearest labels of images, by words alone; labels may have names, or several: {"dog": ["dog", "hound"]}."""
    chosen = dict(labels) if isinstance(labels, Mapping) else list(labels)
    shown = templates if isinstance(templates, str) else list(templates)
    body = {"images": list(map(_data_uri, images)), "labels": chosen, "templates": shown, "top": top, "least": least}

    def parse(found: Any) -> list[Classified]:
        return [
            Classified(one["label"], tuple((each["label"], float(each["score"])) for each in one["scores"]),
                       found["scored_by"])
            for one in found["results"]
        ]  # fmt: skip

    return _Call("POST", "/v1/classify", parse, {"json": {**body, "model": model}})


def _relate(
    pairs: Sequence[tuple[str | Image, str | Image]],
    *,
    prior: float | None = None,
    threshold: float | None = None,
    model: str | None = None,
) -> _Call[list[Related]]:
    """Whether the two things of each pair are related: texts (str) and images (path or bytes) on either side."""
    left, right = ([_text_or_uri(pair[side]) for pair in pairs] for side in (0, 1))
    body = {"left": left, "right": right, "prior": prior, "threshold": threshold, "model": model}

    def parse(found: Any) -> list[Related]:
        origins = {kind: judge["origin"] for kind, judge in found["judged_by"].items()}
        return [_made(Related, {**one, "origin": origins.get(one["kind"], "")}) for one in found["results"]]

    return _Call("POST", "/v1/relate", parse, {"json": body})


def _made(kind: type[T], fields: Mapping[str, Any]) -> T:
    """A dataclass from the fields of an answer that it has; lists become tuples."""
    known = {name: value for name, value in fields.items() if name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


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


def _name(image: Image) -> str:
    return image.name if isinstance(image, Path) else "image"


def _bytes(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise DataError(f"cannot open {image}: {error.strerror or error}") from error


def _text_or_uri(value: str | Image) -> str:
    return value if isinstance(value, str) else _data_uri(value)


def _data_uri(image: Image) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(_bytes(image)).decode("ascii")


def _from_uri(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def _found(found: Any) -> Found:
    hits = [
        Hit(one["rank"] - 1, one["id"], one["score"], one["path"], _meta(one), one["scored_by"])
        for one in found["hits"]
    ]
    return _made(Found, {**found, "hits": hits})


def _as_why(found: Any) -> Why:
    words = [_made(WhyWord, {**one, "regions": np.array(one["regions"], dtype=np.float32)}) for one in found["words"]]
    return _made(Why, {**found, "words": words, "overlay": found["overlay"] and _from_uri(found["overlay"])})


def _meta(hit: Mapping[str, Any]) -> dict[str, Any]:
    likely = hit.get("relevance") if hit.get("relevance") is not None else hit.get("probability")
    judged = {"cosine": hit.get("cosine"), "probability": likely, "why": hit.get("why"), "belongs": hit.get("belongs")}
    judged["words_in_image"] = hit.get("words")
    judged = {key: value for key, value in judged.items() if value is not None}
    if "why" in judged:
        judged["why"] = _as_why(judged["why"])
    return {**hit["meta"], **judged, **{key: hit[key] for key in ("name", "width", "height", "texts")}}


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _waited(build: Callable[P, _Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method of `Client` with the signature and docstring of the call that it sends."""

    @wraps(build)
    def method(self: Client, /, *args: P.args, **options: P.kwargs) -> T:
        return self._run(build(*args, **options))

    return method


def _awaited(build: Callable[P, _Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """The same of `AsyncClient`."""

    @wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **options: P.kwargs) -> T:
        return await self._run(build(*args, **options))

    return method


class Client:
    """Blocks until each answer is there. Use it in a `with` block, or call `close`."""

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

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def add(
        self, library: str, images: Sequence[Image], *, meta: Meta | None = None, texts: Sequence[str] = ()
    ) -> list[Added]:
        """Upload images, a few at a time; durable on return. A bad one has its error in its place."""
        return [one for call in _add(library, images, meta, texts) for one in self._run(call)]

    libraries = _waited(_libraries)
    search = _waited(_search)
    like = _waited(_like)
    items = _waited(_items)
    item = _waited(_item)
    describe = _waited(_describe)
    delete = _waited(_delete)
    undo = _waited(_undo)
    thumbnail = _waited(_thumbnail)
    export = _waited(_export)
    why = _waited(_why)
    caption = _waited(_caption)
    generate = _waited(_generate)
    embed = _waited(_embed)
    rerank = _waited(_rerank)
    classify = _waited(_classify)
    relate = _waited(_relate)

    def _run(self, call: _Call[T]) -> T:
        request, tries = call.request(self._http), _Tries(call)
        while True:
            try:
                answer: httpx.Response | httpx.HTTPError = self._http.send(request)
            except httpx.HTTPError as error:
                answer = error
            pause = tries.pause_after(answer)
            if pause is None and isinstance(answer, httpx.Response):
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

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def add(
        self, library: str, images: Sequence[Image], *, meta: Meta | None = None, texts: Sequence[str] = ()
    ) -> list[Added]:
        """As `Client.add`."""
        return [one for call in _add(library, images, meta, texts) for one in await self._run(call)]

    libraries = _awaited(_libraries)
    search = _awaited(_search)
    like = _awaited(_like)
    items = _awaited(_items)
    item = _awaited(_item)
    describe = _awaited(_describe)
    delete = _awaited(_delete)
    undo = _awaited(_undo)
    thumbnail = _awaited(_thumbnail)
    export = _awaited(_export)
    why = _awaited(_why)
    caption = _awaited(_caption)
    generate = _awaited(_generate)
    embed = _awaited(_embed)
    rerank = _awaited(_rerank)
    classify = _awaited(_classify)
    relate = _awaited(_relate)

    async def _run(self, call: _Call[T]) -> T:
        request, tries = call.request(self._http), _Tries(call)
        while True:
            try:
                answer: httpx.Response | httpx.HTTPError = await self._http.send(request)
            except httpx.HTTPError as error:
                answer = error
            pause = tries.pause_after(answer)
            if pause is None and isinstance(answer, httpx.Response):
                return call.result(answer)
            await anyio.sleep(pause or 0.0)
