"""Searching a library, and its map."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Response, UploadFile

from diptych.core import types as library_types
from diptych.core.text import plain
from diptych.library import Answer
from diptych.library.own_probability import Asked, own_probabilities
from diptych.library.relevant import BELONGS, Judge
from diptych.library.store import WORDS as COLUMN
from diptych.library.store import Where
from diptych.library.words import DEPTH, WORDS
from diptych.serve.libraries import ServedLibrary

from .. import explaining, filters, projection
from ..decoding import WHAT_CAME
from ..embedding import Vector
from ..errors import ServeError
from ..inputs import one_of
from ..schemas import ATTENTION, OCCLUSION, Hit, MapInfo, SearchRequest, SearchResponse, Sort
from ..service import Service, TheLibrary, TheService, facts_of
from . import RESPONSES

router = APIRouter(prefix="/libraries/{name}", responses=RESPONSES, tags=["search"])
_EXPLAINED = 3  # hits of one search
_SAYS_VERSION = {
    "headers": {
        "X-Map-Method": {"schema": {"type": "string"}},
        "X-Map-Count": {"schema": {"type": "integer"}},
        "X-Map-Total": {"schema": {"type": "integer"}},
    }
}


@router.post("/search", summary="Find images by words, image, id, vector or a sum")
async def search(asked: SearchRequest, served: TheLibrary, service: TheService) -> SearchResponse:
    """Exactly one of `text`, `image`, `vector` and `terms`; `filter`, `where` and `near` narrow it down."""
    started = time.perf_counter()
    one_of(asked)
    await _check_features(asked, served)
    narrowed = await filters.narrowed(served, asked.filter, asked.where, asked.near, paths=service.settings.shows_paths)
    vector = await service.inputs.query(asked, served)
    own = asked.image.id if asked.image is not None else None
    kind: Asked | None = "text" if asked.text is not None else "image" if asked.image is not None else None
    return await _found(service, served, vector, asked, narrowed, started, kind, own)


@router.post("/search/image", summary="Find images like one that is uploaded")
async def search_image(
    served: TheLibrary,
    service: TheService,
    file: Annotated[UploadFile, File(description="An image")],
    k: Annotated[int, Form(ge=1, le=1_000)] = 20,
    filter: Annotated[str, Form(description="A JSON list of conditions", max_length=10_000)] = "[]",
    where: Annotated[str | None, Form(max_length=1_000)] = None,
    near: Annotated[str | None, Form(description="LAT,LON in degrees", max_length=100)] = None,
    km: Annotated[float, Form(gt=0, le=20_100)] = 5.0,
    sort: Annotated[Sort, Form()] = "score",
    only_relevant: Annotated[bool, Form()] = False,
    on_map: Annotated[bool, Form()] = False,
) -> SearchResponse:
    """As `search` with an image, but the image comes as a file."""
    started = time.perf_counter()
    around, paths = filters.place(near, km), service.settings.shows_paths
    narrowed = await filters.narrowed(served, filters.from_json(filter), where, around, paths=paths)
    name = plain(file.filename or WHAT_CAME)[:200]
    vector = await service.inputs.image_vector(await file.read(), served.embedder, name)
    asked = SearchRequest(k=k, sort=sort, only_relevant=only_relevant, on_map=on_map)
    return await _found(service, served, vector, asked, narrowed, started, "image")


@router.get(
    "/map",
    summary="The embedding map",
    response_model=MapInfo,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
                     **_SAYS_VERSION}},
)  # fmt: skip
async def map_of(served: TheLibrary, format: Annotated[str, Query(pattern="^(json|binary)$")] = "json") -> Any:
    """A point for every image, similar images near each other; for a sample of the images of a library
    on a server or of more than 100,000.

    `format=binary`: little-endian float32 x, y, shade for each image, then 8 bytes of id for each, in
    the same order; their number is in X-Map-Count, that of all images in X-Map-Total, what made them in X-Map-Method.
    """
    plan = await served.plan(newest=True)
    if format == "binary":
        data = await served.read(projection.packed, plan)
        told_by = {"X-Map-Count": str(len(plan.ids)), "X-Map-Total": str(plan.total), "X-Map-Method": plan.method,
                   "X-Map-Version": plan.version}  # fmt: skip
        return Response(data, media_type="application/octet-stream", headers=told_by)
    return MapInfo(
        version=plan.version,
        method=plan.method,
        ids=[str(one, "ascii") for one in plan.ids],
        x=plan.places[:, 0].tolist(),
        y=plan.places[:, 1].tolist(),
        shade=plan.shade.tolist(),
        total=plan.total,
    )


async def _check_features(asked: SearchRequest, served: ServedLibrary) -> None:
    if asked.rerank:
        if not await served.read(served.can_rerank):
            raise ServeError(404, "no_such_model", "no model that can rerank is loaded for this library",
                             "GET /libraries lists the features of each; diptych serve --reranker gives it this one, "
                             "and diptych rerank fit fits it to the library's model.")  # fmt: skip
        if asked.text is None:
            raise ServeError(422, "bad_request", "only words can be re-ranked", "Give text, or leave rerank out.")
    if asked.ocr:
        if asked.text is None:
            raise ServeError(422, "bad_request", "only words can be looked for inside images",
                             "Give text, or leave ocr out.")  # fmt: skip
        if COLUMN not in await served.columns():
            raise ServeError(422, "no_words", "no words were read in the images of this library",
                             "Read them with diptych index --ocr, or leave ocr out.")  # fmt: skip
    if asked.explain and not _words(asked):
        raise ServeError(422, "bad_request", "only words can be explained", "Give words, or leave explain out.")


async def _judge(service: Service, served: ServedLibrary, asked: SearchRequest, kind: Asked | None) -> Judge | None:
    if not asked.only_relevant:
        return None
    if kind is None:
        raise ServeError(422, "bad_request", "only hits of words or of one image can be told to be relevant",
                         "Give text or image, or leave only_relevant out.")  # fmt: skip
    return await served.read(lambda: service.judge(served, kind, is_reranked=asked.rerank))


def _words(asked: SearchRequest) -> str:
    """The words that are looked for."""
    if asked.text is not None:
        return asked.text
    return " ".join(term.text for term in asked.terms or () if term.text is not None and term.weight > 0)


async def _reordered(
    service: Service, served: ServedLibrary, asked: SearchRequest, found: Answer, depth: int
) -> tuple[Answer, float | None, list[str]]:
    """The hits in the cross-encoder's order, how likely none is right, and notes."""
    text, notes = str(asked.text), list[str]()
    hits = await service.slow_queue.run(
        lambda: served.library.reordered(text, found.hits, rerank=depth, budget_ms=asked.budget_ms, notes=notes)
    )
    first = hits[0].meta if hits and _is_judged(hits[0], served) else {}
    return replace(found, hits=hits), first.get("nothing_matches"), notes


def _is_judged(hit: library_types.Hit, served: ServedLibrary) -> bool:
    reranker = served.library.reranker
    return hit.scored_by != "cosine" and reranker is not None and reranker.is_calibrated


async def _explained(service: Service, served: ServedLibrary, asked: SearchRequest, hits: list[Hit]) -> None:
    """Explain the first hits, by the model that ordered them."""
    for hit in hits[:_EXPLAINED]:
        attends = asked.rerank and served.cross_encoder is not None and served.cross_encoder.describes
        by = ATTENTION if attends else OCCLUSION
        hit.why, _ = await explaining.why(service, served, hit.id, _words(asked), by, draw=False)


async def _found(
    service: Service,
    served: ServedLibrary,
    vector: Vector,
    asked: SearchRequest,
    narrowed: tuple[Where | None, list[str]],
    started: float,
    kind: Asked | None,
    own: str | None = None,
) -> SearchResponse:
    where, placeless = narrowed
    judge = await _judge(service, served, asked, kind)
    reranker = served.library.reranker if asked.rerank else None
    depth = 0 if reranker is None else asked.candidates or reranker.k
    listed_to = max(asked.k, DEPTH) if asked.ocr else asked.k
    found = await served.search(vector, min(max(depth, listed_to + (own is not None)), 1_000), where)
    nothing, unseen = None, list[str]()
    if depth:
        found, nothing, unseen = await _reordered(service, served, asked, found, depth)
    plan = await served.plan(newest=False) if asked.on_map else None
    paths = service.settings.shows_paths
    hints = placeless + await served.notes(where, found.considered, paths=paths)
    if served.loaded is not None:
        hints += await served.loaded.unread([asked.text or "", *(term.text or "" for term in asked.terms or ())])
    if depth and reranker is not None and (unread := await asyncio.to_thread(reranker.unread, asked.text or "")):
        hints.append(unread)
    nearest, hidden = [hit for hit in found.hits if hit.id != own][:listed_to], 0
    if judge is not None:
        relevant = await served.read(judge, nearest, asked.text or "")
        nearest, hidden = relevant.hits, relevant.hidden
        hints += relevant.notes
    if asked.ocr:
        nearest = await served.read(served.library.with_words, asked.text, nearest, asked.k, where)
    listed = await served.read(served.library.in_order, nearest, asked.sort, hints)
    hits = _hits(listed, served, paths, plan, None if depth or asked.ocr else kind)
    if asked.explain:
        await _explained(service, served, asked, hits)
    return SearchResponse(
        hits=hits,
        nothing_matches=nothing,
        total=found.considered,
        hidden=hidden,
        took_ms=round((time.perf_counter() - started) * 1e3, 2),
        version=found.version,
        notes=[*_notes(asked.language, served), *hints, *unseen],
        lands=None if plan is None else projection.lands(plan, found.hits),
    )


def _hits(
    found: Sequence[library_types.Hit],
    served: ServedLibrary,
    paths: bool,
    plan: projection.Plan | None,
    kind: Asked | None,
) -> list[Hit]:
    hits: list[Hit] = []
    model = served.loaded and served.loaded.model
    probabilities = own_probabilities(model, found, kind) if kind else [None] * len(found)
    for one, probability in zip(found, probabilities, strict=True):
        meta, judged = dict(one.meta), _is_judged(one, served)
        cosine = meta.pop("cosine", None) if one.scored_by != "cosine" else None
        relevance = meta.pop("probability", None) if judged else None
        belongs, words = meta.pop(BELONGS, None), meta.pop(WORDS, None)
        if judged:
            meta.pop("nothing_matches", None)
        x, y = (None if plan is None else plan.place(one.id)) or (None, None)
        hits.append(
            Hit(
                rank=len(hits) + 1,
                id=one.id,
                score=one.score,
                scored_by=one.scored_by,
                relevance=relevance,
                cosine=cosine,
                probability=probability,
                belongs=belongs,
                words=words,
                x=x,
                y=y,
                **facts_of(one.path, meta, paths=paths),
            )
        )
    return hits


def _notes(language: str | None, served: ServedLibrary) -> list[str]:
    if language is None or served.loaded is None or not (known := served.loaded.languages):
        return []
    if language.lower() in known or language.lower().partition("-")[0] in known:
        return []
    return [f"the model {served.loaded.name} was not made for {language}; results may be poor"]
