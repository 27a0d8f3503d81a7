"""Searching a library, and its map."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Response, UploadFile

from .. import filters, projection
from ..embedding import Vector
from ..errors import ServeError
from ..inputs import one_of
from ..reading import Found
from ..schemas import Condition, Hit, MapInfo, SearchRequest, SearchResponse
from ..service import Service, TheService, told
from ..shelf import Served
from . import RESPONSES

router = APIRouter(prefix="/libraries/{name}", responses=RESPONSES, tags=["search"])
_SAYS_VERSION = {
    "headers": {"X-Map-Method": {"schema": {"type": "string"}}, "X-Map-Count": {"schema": {"type": "integer"}}}
}


@router.post("/search", summary="Find pictures by words, picture, id, vector or a sum")
async def search(name: str, asked: SearchRequest, service: TheService) -> SearchResponse:
    """Exactly one of `text`, `image`, `vector` and `terms`; `filter` and `where` narrow it down."""
    started = time.perf_counter()
    served = service.shelf.get(name)
    one_of(asked)
    _check_features(asked)
    sql = await _sql(served, asked.filter, asked.where)
    vector = await service.inputs.query(asked, served)
    own = asked.image.id if asked.image is not None else None
    return await _found(service, served, vector, asked, sql, started, own)


@router.post("/search/image", summary="Find pictures like one that is uploaded")
async def search_image(
    name: str,
    service: TheService,
    file: Annotated[UploadFile, File(description="A picture")],
    k: Annotated[int, Form(ge=1, le=1_000)] = 20,
    filter: Annotated[str, Form(description="A JSON list of conditions", max_length=10_000)] = "[]",
    where: Annotated[str | None, Form(max_length=1_000)] = None,
    on_map: Annotated[bool, Form()] = False,
) -> SearchResponse:
    """As `search` with an image, but the picture comes as a file."""
    started = time.perf_counter()
    served = service.shelf.get(name)
    sql = await _sql(served, filters.from_json(filter), where)
    vector = await service.inputs.picture(await file.read(), served.embedder)
    return await _found(service, served, vector, SearchRequest(k=k, on_map=on_map), sql, started, None)


@router.get(
    "/map",
    summary="The embedding map",
    response_model=MapInfo,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
                     **_SAYS_VERSION}},
)  # fmt: skip
async def map_of(
    name: str,
    service: TheService,
    format: Annotated[str, Query(pattern="^(json|binary)$")] = "json",
) -> Any:
    """A place for every picture, like near like.

    `format=binary`: little-endian float32 x, y, shade for each picture, then 8 bytes of id for each, in
    the same order; their number is in X-Map-Count, what made them in X-Map-Method.
    """
    served = service.shelf.get(name)
    plan = await served.plan(newest=True)
    if format == "binary":
        data = await served.read(projection.packed, plan)
        told_by = {"X-Map-Count": str(len(plan.ids)), "X-Map-Method": plan.method, "X-Map-Version": plan.version}
        return Response(data, media_type="application/octet-stream", headers=told_by)
    return MapInfo(
        version=plan.version,
        method=plan.method,
        ids=[str(one, "ascii") for one in plan.ids],
        x=plan.places[:, 0].tolist(),
        y=plan.places[:, 1].tolist(),
        shade=plan.shade.tolist(),
    )


def _check_features(asked: SearchRequest) -> None:
    hint = "GET /libraries lists the features of each library."
    if asked.rerank:
        raise ServeError(404, "no_such_model", "no model that can rerank is loaded for this library", hint)
    if asked.explain:
        raise ServeError(404, "no_such_model", "no model that can explain is loaded for this library", hint)


async def _sql(served: Served, conditions: list[Condition], where: str | None) -> str | None:
    if not conditions and where is None:
        return None
    return filters.to_sql(conditions, where, await served.read(served.reader.columns))


async def _found(
    service: Service,
    served: Served,
    vector: Vector,
    asked: SearchRequest,
    sql: str | None,
    started: float,
    own: str | None,
) -> SearchResponse:
    found = await served.search(vector, min(asked.k + (own is not None), 1_000), sql)
    plan = await served.plan(newest=False) if asked.on_map else None
    return SearchResponse(
        hits=_hits(found, service.settings.shows_paths, plan, own)[: asked.k],
        total=found.looked_at,
        took_ms=round((time.perf_counter() - started) * 1e3, 2),
        version=found.version,
        notes=_notes(asked.language, served),
        lands=None if plan is None else projection.lands(plan, found.hits),
    )


def _hits(found: Found, paths: bool, plan: projection.Plan | None, own: str | None) -> list[Hit]:
    hits: list[Hit] = []
    for one in found.hits:
        if one.id == own:
            continue
        about = told(one.path, one.meta, paths=paths)
        x, y = (None if plan is None else plan.place(one.id)) or (None, None)
        hits.append(
            Hit(
                rank=len(hits),
                id=one.id,
                name=about.name,
                score=one.score,
                path=about.path,
                width=about.width,
                height=about.height,
                texts=about.texts,
                meta=about.meta,
                x=x,
                y=y,
            )
        )
    return hits


def _notes(language: str | None, served: Served) -> list[str]:
    known = served.embedder.languages
    if language is None or not known:
        return []
    if language.lower() in known or language.lower().partition("-")[0] in known:
        return []
    return [f"the model {served.embedder.name} was not made for {language}; results may be poor"]
