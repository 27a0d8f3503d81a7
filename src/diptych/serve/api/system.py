"""Health, metrics, the page's session, and the page itself."""

from __future__ import annotations

import hmac
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from diptych.core.version import __version__

from .. import errors
from ..errors import ServeError
from ..gate import COOKIE, session_of
from ..schemas import Health
from ..schemas import Request as Body
from ..service import TheService
from . import RESPONSES

router = APIRouter(responses=RESPONSES, tags=["system"])
pages = APIRouter(include_in_schema=False)

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


class Login(Body):
    """The server's token."""

    token: str = Field(max_length=512)


class Session(BaseModel):
    """Whether the page may ask, and whether it needs the token first."""

    ready: bool
    version: str


@router.get("/health", summary="Whether the server can do its work")
async def health(service: TheService) -> Health:
    """Embeds a text with each model; an answer is good for a second."""
    try:
        taken = await service.health.now()
    except ServeError:
        raise
    except Exception as error:
        errors.log.error("health: an embedding failed", exc_info=error)
        raise ServeError(503, "unhealthy", "a model cannot embed", "The server's log says why.", 5) from error
    return Health(status="ok", version=__version__, models=taken, libraries=len(service.libraries))


@router.get("/metrics", summary="For Prometheus", response_class=Response, responses=_TEXT)
async def metrics(service: TheService) -> Response:
    """In Prometheus' text format."""
    for served in service.libraries:
        await served.read(served.count)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/session", summary="Whether the page needs the token")
async def session(request: Request, service: TheService) -> Session:
    """Without a token set, everybody who reaches the server is in."""
    token = service.settings.token
    known = token is None or hmac.compare_digest(request.cookies.get(COOKIE, ""), session_of(token))
    return Session(ready=known, version=__version__)


@router.post("/session", summary="Give the page its session")
async def login(asked: Login, request: Request, response: Response, service: TheService) -> Session:
    """Sets a cookie that only this site gets and no script can read."""
    token = service.settings.token
    if token is not None and not hmac.compare_digest(asked.token.encode(), token.encode()):
        raise ServeError(401, "unauthorized", "that is not the token of this server",
                         "It was printed when the server started.")  # fmt: skip
    if token is not None:
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", secure=secure, path="/")
    return Session(ready=True, version=__version__)


@pages.get("/")
async def page() -> Response:
    """The page."""
    return _asset("index.html")


@pages.get("/docs")
async def docs() -> Response:
    """The API, for people: a page of our own, since the usual one loads scripts from elsewhere."""
    return _asset("docs.html")


@pages.get("/favicon.ico")
async def icon() -> Response:
    """The icon."""
    return _asset("icon.svg")


@pages.get("/static/{name}")
async def static(name: str) -> Response:
    """The page's scripts and styles. Names with a slash never come here."""
    return _asset(name)


def _asset(name: str) -> Response:
    folder = resources.files("diptych.serve") / "static"
    kind = _TYPES.get(name.rpartition(".")[2])
    if kind is None or name not in {entry.name for entry in folder.iterdir()}:
        raise ServeError(404, "not_found", "there is no such file")
    return Response((folder / name).read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})
