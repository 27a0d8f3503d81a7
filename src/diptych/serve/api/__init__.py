"""The operations of the API, one module for each group."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from diptych.core.registry import nearest

from ..errors import ServeError
from ..schemas import Problem

_MEANINGS = {
    400: "The body cannot be read",
    401: "The token is missing or wrong",
    403: "Not allowed: another origin, or something that is switched off",
    404: "No such library, image or model",
    405: "Not allowed here",
    408: "The request came too slowly",
    409: "The library was made by an earlier version of its model",
    413: "Too large",
    415: "Not an image, or not JSON",
    421: "The server does not answer to that host name",
    422: "The request does not fit",
    429: "Too many requests of this client are under way",
    500: "A defect of the server",
    503: "Overloaded, late or shutting down: try again as Retry-After says",
    507: "The server's disk is full: nothing was written",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning} for status, meaning in _MEANINGS.items()
}


async def only_known_parameters(request: Request) -> None:
    """Raise ServeError(422) for a query parameter that the route does not take: it would be ignored silently."""
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = [field.alias for field in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            message = f"unknown query parameter {name[:40]!r}; {takes}{nearest(name, known)}"
            raise ServeError(422, "bad_request", message, "GET /docs lists the parameters of each operation.")
