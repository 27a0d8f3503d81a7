"""Images that were chosen, to be kept elsewhere: what is known about them, or their files too."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from .. import errors, exporting
from ..errors import ServeError
from ..exporting import Part
from ..schemas import ExportRequest
from ..service import TheLibrary, TheService
from . import RESPONSES
from .items import listed

router = APIRouter(prefix="/libraries/{name}", responses=RESPONSES, tags=["libraries"])

_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json", "zip": "application/zip"}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A file",
        "headers": {"X-Missing": {"description": "Ids that the library does not have", "schema": {"type": "integer"}}},
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _TYPES.values()},
    }
}


@router.post("/items/export", summary="Chosen images as a file", response_class=Response, responses=_BYTES)
async def export(asked: ExportRequest, served: TheLibrary, service: TheService) -> Response:
    """What is known about them as CSV or JSON, or a ZIP archive of their files with such a table.

    The files are as they were indexed; only a server that gives paths gives them. The archive is sent while it is made.
    """
    paths = service.settings.shows_paths
    if asked.format == "zip" and not await served.read(service.gives_files, served):
        raise ServeError(403, "no_files", "this server gives no files of this library", "Export csv or json.")
    items = await served.read(served.library.some, asked.ids)
    if not items:
        raise errors.no_item(asked.ids[0])
    rows = [listed(one, paths=paths).model_dump(mode="json") for one in items]
    missing = len(set(asked.ids)) - len(items)
    headers = {"Content-Disposition": f'attachment; filename="images.{asked.format}"', "X-Missing": str(missing)}
    kind = _TYPES[asked.format]
    if asked.format == "zip":
        parts = [Part(row, item) for row, item in zip(rows, items, strict=True)]
        return StreamingResponse(
            exporting.archive(parts, served.library.opened.folder), media_type=kind, headers=headers
        )
    text = json.dumps(rows, ensure_ascii=False, indent=1) if asked.format == "json" else exporting.table(rows)
    return Response(text.encode(), media_type=kind, headers=headers)
