"""`--engine ray --address HOST:PORT --workers N`: where images are read and embedded."""

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.workers import Engine

_ENGINE = """Where images are read and embedded: in this process, or by the workers of a Ray cluster, each with a GPU or
with --workers cores. The images have to be there under the same paths."""
_ADDRESS = """The Ray cluster: HOST:PORT of its head, ray://HOST:PORT, or local for one of this machine alone, started
for the run. Left out, it is the one that RAY_ADDRESS names or that runs on this machine, else local."""
EngineName = Annotated[Literal["local", "ray"], Parameter(help=_ENGINE)]
EngineAddress = Annotated[str | None, Parameter(help=_ADDRESS)]
Workers = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=1),
        help="Threads that decode images; with --engine ray the cores of each worker.",
    ),
]
WORKERS = 2


def check_engine(name: str, address: str | None, command: str) -> None:
    """Raise ConfigError for an address without --engine ray, MissingExtraError without Ray: before anything is read."""
    if name == "local" and address is not None:
        raise ConfigError("--address would do nothing without --engine ray; leave it out, or add --engine ray")
    if name == "ray":
        need("ray", f"{command} --engine ray")


@contextlib.contextmanager
def opened_engine(name: str, address: str | None, device: str) -> Iterator[Engine | None]:
    """What embeds; None for this process."""
    if name == "local":
        yield None
        return
    from diptych.core.on_ray import ClusterStoppedError, RayEngine

    # Ray prints what happens to its workers, on stdout; the report says it too
    try:
        with contextlib.redirect_stdout(io.StringIO()), RayEngine(address, device=device) as engine:
            yield engine
    except ClusterStoppedError as error:
        atexit.register(_leave, error.exit_code)
        raise


def _leave(code: int) -> None:
    """End the process now: Ray without its cluster crashes when Python cleans up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
