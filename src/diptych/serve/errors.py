"""What a client gets when something is wrong: `{code, message, hint, request_id}`, never a path or a trace."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from diptych.core.errors import ConfigError, DataError, DiptychError, LibraryError, LimitError, ModelError, Reason

log = logging.getLogger("diptych.serve")

# the status and the hint for an image or a text that cannot be used; 422 without a hint for any other reason
_OF_REASON: dict[Reason, tuple[int, str]] = {
    Reason.NOT_AN_IMAGE: (415, "Send a JPEG, PNG, WebP, GIF, BMP or TIFF image."),
    Reason.TRUNCATED: (422, "The file ends early or is damaged: send it again."),
    Reason.TOO_LARGE: (413, "Send a smaller image."),
    Reason.MALFORMED: (422, "Save the image again with another program, then send it."),
    Reason.BAD_ASPECT: (422, "Cut the image into pieces that are less long and thin."),
    Reason.EMPTY_TEXT: (422, "Send some words."),
    Reason.MISSING: (404, ""),
}
RETRY_SECONDS = 1
_OPENAI = "/v1/"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MOST_PROBLEMS = 3  # named in the message about a body that does not fit


class ServeError(DiptychError):
    """An answer with a status of its own. `hint` says what to do."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.hint, self.retry_after = status, code, hint, retry_after


def overloaded(what: str, status: int = 503, code: str = "overloaded") -> ServeError:
    """The answer when the server has no room for more work."""
    return ServeError(status, code, what, "Send it again after as many seconds as Retry-After says.", RETRY_SECONDS)


def too_late(what: str) -> ServeError:
    """The answer when a deadline has passed."""
    return ServeError(503, "deadline_exceeded", what, "The server is busy: try again a little later.", RETRY_SECONDS)


def no_library(name: str) -> ServeError:
    """There is no such library."""
    return ServeError(404, "no_such_library", f"there is no library {name[:40]!r}", "GET /libraries lists them.")


def no_item(identifier: str) -> ServeError:
    """There is no such image."""
    return ServeError(
        404, "no_such_item", f"no image has the id {identifier[:40]!r}", "GET /libraries/{name}/items lists them."
    )


def other_model(library: str, model: str) -> ServeError:
    """A library whose vectors are of an earlier model than the one that is called so now."""
    return ServeError(
        409, "other_model",
        f"the library {library!r} was made by an earlier {model!r}, so it cannot be searched by words or new images",
        "Embed its images again: diptych library reembed. The server goes on with the new vectors by itself.",
    )  # fmt: skip


def no_model(task: str) -> ServeError:
    """There is no model for a task."""
    return ServeError(
        404, "no_such_model", f"no model that can {task} is loaded", "GET /v1/models lists what each model can do."
    )


def full_disk() -> ServeError:
    """The answer to a write when the disk is full."""
    return ServeError(
        507, "disk_full", "the server's disk is full, so this was not stored; everything acknowledged before is",
        "Searching goes on. Make room on the server's disk, then send it again.",
    )  # fmt: skip


def disk_is_full(error: BaseException | None) -> bool:
    """Whether no room on a disk is at the bottom of an error. The store's own errors only say so in words."""
    while error is not None:
        if isinstance(error, OSError | RuntimeError) and (
            getattr(error, "errno", None) in _FULL or "No space left on device" in str(error)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def of(error: DiptychError) -> ServeError:
    """Any of Diptych's errors as an answer."""
    if isinstance(error, ServeError):
        return error
    if isinstance(error, DataError):
        status, hint = _OF_REASON.get(error.reason, (422, ""))
        return ServeError(status, error.reason.value, str(error), hint)
    if isinstance(error, LimitError):
        return ServeError(422, "over_limit", str(error), "Ask for less.")
    if isinstance(error, ConfigError):
        return ServeError(422, "bad_request", str(error))
    if isinstance(error, LibraryError) and "being written by" in str(error):
        return overloaded("another program is writing this library", code="library_busy")
    if disk_is_full(error):
        log.error("the disk is full: %s", error)
        return full_disk()
    if isinstance(error, LibraryError | ModelError):  # these messages name folders of this machine: for the log only
        log.error("%s: %s", type(error).__name__, error)
        return ServeError(503, "library_unavailable", "the library or its model cannot be used now",
                          "The server's log says why.", RETRY_SECONDS)  # fmt: skip
    return ServeError(422, "bad_request", str(error))


def body(error: ServeError, request_id: str, path: str = "") -> dict[str, Any]:
    """The JSON of an answer; under /v1 also in OpenAI's shape, whose clients show nothing else."""
    answer: dict[str, Any] = {"code": error.code, "message": str(error), "hint": error.hint, "request_id": request_id}
    if path.startswith(_OPENAI):
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        message = f"{error}. {error.hint}".removesuffix(". ")
        answer["error"] = {"message": message, "type": kind, "code": error.code, "param": None}
    return answer


def headers(error: ServeError) -> dict[str, str]:
    """The headers of an answer, besides those of every answer."""
    return {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def response(
    error: ServeError, request_id: str, extra: Mapping[str, str] | None = None, *, path: str = ""
) -> JSONResponse:
    """The answer to a request for `path`."""
    return JSONResponse(body(error, request_id, path), error.status, headers={**headers(error), **(extra or {})})


def install(app: FastAPI) -> None:
    """Every error of the application becomes such an answer."""

    async def answered(request: Request, error: Exception) -> JSONResponse:
        headers: Mapping[str, str] | None = None
        if isinstance(error, DiptychError):
            answer = of(error)
        elif isinstance(error, RequestValidationError):
            answer = _of_validation(error)
        elif isinstance(error, HTTPException):
            answer = _of_http(error, request)
            headers = {"Allow": _methods_of(request)} if error.status_code == 405 else error.headers
        else:
            answer = internal(error, _id(request))
        return response(answer, _id(request), headers, path=request.url.path)

    for kind in (DiptychError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answered)


def internal(error: BaseException, request_id: str) -> ServeError:
    """The answer to a defect, or a full disk; the trace goes to the log under the request's id."""
    log.error("request %s failed", request_id, exc_info=error)
    if disk_is_full(error):
        return full_disk()
    return ServeError(500, "internal", "something went wrong on the server", "Report it with this request_id.")


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


def _methods_of(request: Request) -> str:
    """The methods that a path takes: Starlette would name those of one route only."""
    paths = request.app.openapi()["paths"]
    fitting = [path for path in paths if compile_path(path)[0].match(request.url.path)]
    if not fitting:
        return "GET"  # the page and its files
    nearest = min(fitting, key=lambda path: path.count("{"))  # /items/delete rather than /items/{id}
    return ", ".join(sorted(method.upper() for method in paths[nearest]))


def _of_http(error: HTTPException, request: Request) -> ServeError:
    names = {404: "not_found", 405: "method_not_allowed", 400: "bad_request", 413: "too_large"}
    phrase = HTTPStatus(error.status_code).phrase
    message = {
        404: f"there is nothing at {request.url.path[:80]}",
        405: f"{request.method} is not allowed here",
        400: f"the body cannot be read: {str(error.detail)[:200]}",
    }.get(error.status_code, str(error.detail)[:200] or phrase)
    hint = "GET /openapi.json or /docs says what there is." if error.status_code in (404, 405) else ""
    return ServeError(error.status_code, names.get(error.status_code, phrase.lower().replace(" ", "_")), message, hint)


def _of_validation(error: RequestValidationError) -> ServeError:
    problems: list[Any] = list(error.errors())
    if any(problem.get("type") == "json_invalid" for problem in problems):
        return ServeError(400, "bad_json", "the body is not valid JSON", "Send UTF-8 JSON; GET /docs shows examples.")
    lines = [f"{'.'.join(str(part) for part in one['loc'][1:]) or 'body'}: {one['msg']}" for one in problems]
    more = f" (and {len(lines) - _MOST_PROBLEMS} more)" if len(lines) > _MOST_PROBLEMS else ""
    return ServeError(422, "bad_request", "; ".join(lines[:_MOST_PROBLEMS])[:600] + more, "GET /docs says what fits.")
