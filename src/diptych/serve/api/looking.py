"""Why a picture was found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from .. import explaining
from ..inputs import checked_text
from ..schemas import MAX_QUERY, Why
from ..service import TheService
from . import RESPONSES

router = APIRouter(prefix="/libraries/{name}", responses=RESPONSES, tags=["search"])


@router.get(
    "/items/{id}/why",
    summary="What each word of a text hangs on in a picture",
    response_model=Why,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def why(
    name: str,
    id: str,
    service: TheService,
    text: Annotated[str, Query(max_length=MAX_QUERY)],
    by: Annotated[
        Literal["fast", "slow"], Query(description="The library's model, or the cross-encoder if one is loaded")
    ] = "fast",
    format: Annotated[Literal["json", "png"], Query(description="json holds the picture too")] = "json",
) -> Any:
    """By fast: regions are painted over and words left out, and what the cosine loses is what they are worth.

    By slow: which regions each word looked at, and by how much the picture makes it likelier.
    """
    words = checked_text(text, MAX_QUERY)
    told, png = await explaining.why(service, service.shelf.get(name), id, words, by, draw=True)
    if format == "png":
        return Response(png, media_type="image/png", headers={"Content-Disposition": "inline"})
    return explaining.with_overlay(told, png)
