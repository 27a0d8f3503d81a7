"""Why an image was found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from .. import explaining
from ..inputs import checked_text
from ..schemas import MAX_QUERY, OCCLUSION, By, Why
from ..service import TheLibrary, TheService
from . import RESPONSES

router = APIRouter(prefix="/libraries/{name}", responses=RESPONSES, tags=["search"])


@router.get(
    "/items/{id}/why",
    summary="How much each word of a text counts, and where in the image",
    response_model=Why,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def why(
    id: str,
    served: TheLibrary,
    service: TheService,
    text: Annotated[str, Query(max_length=MAX_QUERY)],
    by: Annotated[By, Query(description="The library's model, or the cross-encoder if one is loaded")] = OCCLUSION,
    format: Annotated[Literal["json", "png"], Query(description="json holds the image too")] = "json",
) -> Any:
    """By occlusion: regions are covered and words left out; their weight is what the cosine loses.

    By attention: which regions each word attends to in the cross-encoder, and by how much the image makes it likelier.
    """
    words = checked_text(text, MAX_QUERY)
    found, png = await explaining.why(service, served, id, words, by, draw=True)
    if format == "png":
        return Response(png, media_type="image/png", headers={"Content-Disposition": "inline"})
    return explaining.with_overlay(found, png)
