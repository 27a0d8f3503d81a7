"""Running the application under uvicorn, with deadlines for slow clients and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable

import uvicorn
from threadpoolctl import threadpool_limits

from diptych.core.errors import ConfigError
from diptych.core.memory import trim_memory

from .app import Application
from .protocol import guarded
from .settings import ServeSettings

_BACKLOG = 2_048
_TIDY_SECONDS = 30.0  # between two returns of freed memory
# Between threads. With Python's 5 ms a busy event loop makes an embedding, which gives the interpreter up
# hundreds of times, wait 5 ms each time.
_SWITCH_SECONDS = 0.0005


def bind(settings: ServeSettings) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    host = settings.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; choose another --port"
        ) from error
    return listener


def server(application: Application, settings: ServeSettings) -> uvicorn.Server:
    """The server, not yet running."""
    config = uvicorn.Config(
        application,
        http=guarded(settings, application.admission),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=settings.pressure.keep_alive,
        timeout_graceful_shutdown=int(settings.pressure.shutdown),
    )
    return uvicorn.Server(config)


def serve(
    application: Application,
    settings: ServeSettings,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until SIGTERM or SIGINT; accepted requests are finished first. `ready` is called with the address."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    _allow_descriptors(settings.pressure.connections + 256)
    listener = bind(settings)
    try:
        # one thread for searching: BLAS's others would wait, spinning, for one that has no core
        with threadpool_limits(limits=1, user_api="blas"), contextlib.suppress(KeyboardInterrupt):
            # uvicorn raises the signal again when it is done
            asyncio.run(_until_stopped(server(application, settings), listener, ready))
    finally:
        listener.close()


async def _until_stopped(running: uvicorn.Server, listener: socket.socket, ready: Callable[[str], None]) -> None:
    task = asyncio.ensure_future(running.serve(sockets=[listener]))
    while not running.started and not task.done():
        await asyncio.sleep(0.02)
    if running.started:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{port}")
    tidying = asyncio.ensure_future(_tidy())
    try:
        await task
    finally:
        tidying.cancel()


async def _tidy() -> None:
    """Memory that requests used and freed goes back to the system, for as long as the server runs."""
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        await asyncio.to_thread(trim_memory)


def log_to_stderr(*, quiet: bool) -> None:
    """One line for each request and each thing worth knowing."""
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("diptych.serve")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


class _ToStderr(logging.Handler):
    """Writes to whatever standard error is at the time, so that a stream that was closed meanwhile does no harm."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


def _allow_descriptors(wanted: int) -> None:
    """Raise the soft limit of open files, so that many slow connections do not use it up."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
