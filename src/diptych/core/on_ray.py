"""Work by the machines of a Ray cluster: images go out in chunks, and their results come back in order.

Each worker is an actor with a GPU, or with some cores, of its own. It loads the model and reads the files itself, so
the folders have to be there under the same paths. What is made of the results is up to the process that asked. A worker
that is lost, with its machine or alone, is replaced as soon as the cluster has room, and its chunks go to whoever is
free.
"""

from __future__ import annotations

import atexit
import contextlib
import heapq
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from types import TracebackType
from typing import Any

from diptych.core.devices import AUTO, CPU, kind_and_number
from diptych.core.errors import ConfigError, DataError, DiptychError, LibraryError, Reason, first_line
from diptych.core.extras import need
from diptych.core.notes import Notes
from diptych.core.text import one_line
from diptych.core.types import ImageRef, Skipped
from diptych.core.workers import L, Located, R, Task, chunks

LOCAL = "local"  # the address of a cluster of this machine alone, which is started for the run
_AT_ONCE = 2  # chunks of a worker: one it works on, one that waits there
_AHEAD = 4  # chunks for each worker that are under way or wait for an earlier one
_MOST_DEATHS = 3  # of workers, over the same chunk
_REACH = 5.0  # seconds to connect
_PATIENCE = 300.0  # seconds without any worker
_LOOK = 5.0  # seconds between two looks whether there is one
_AWAY = 40.0  # seconds without the cluster's head; after 60 Ray ends the process by itself, without a word from us


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a worker cannot do anything, in one line."""

    message: str


class TaskWorker:
    """What runs on a worker. The model is loaded with the first chunk."""

    def __init__(self, task: Task[Any, Any], threads: int, device: str) -> None:
        self._task, self._threads, self._device = task, threads, device

    def host(self) -> str:
        """The machine's name; answered once the worker is there."""
        return socket.gethostname()

    def work(self, images: Sequence[Located]) -> Sequence[Any] | _Failure:
        """A result for each image."""
        try:
            return self._started(images)
        except DiptychError as error:
            return _Failure(str(error))

    @cached_property
    def _started(self) -> Callable[[Sequence[Located]], Sequence[Any]]:
        return self._task.start(self._threads, self._device)


class ClusterStoppedError(LibraryError):
    """A cluster whose head is gone. Ray would wait for it, and ends the process soon, so it is left alone."""


class RayEngine:
    """A Ray cluster, connected while it is entered.

    `address` is HOST:PORT of its head, ray://HOST:PORT of its client server, "local" for one of this machine alone, or
    None for the cluster that RAY_ADDRESS names or that runs on this machine, else "local". `device` is auto, cpu or
    cuda: auto takes the GPUs of the cluster where it has any. Ray that is connected already is used as it is.

    Raises LibraryError when the cluster cannot be reached, ConfigError for a device that the cluster does not have.
    """

    def __init__(self, address: str | None = None, *, device: str = AUTO, patience: float = _PATIENCE) -> None:
        """`patience`: seconds without any worker after which a run is given up."""
        kind, _ = kind_and_number(device)
        if device not in (AUTO, CPU, "cuda"):
            raise ConfigError(f"found --device {device}; Ray gives every worker a device: choose auto, cpu or cuda")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report over the network
        self._ray = need("ray", "--engine ray")
        self._address, self._device, self._patience = address, kind, patience
        self._connected = False

    def __enter__(self) -> RayEngine:
        if not self._ray.is_initialized():
            address = self._address or os.environ.get("RAY_ADDRESS")
            if address not in (None, LOCAL, "auto"):
                _check_reachable(str(address))
            try:
                self._ray.init(self._address, log_to_driver=False, logging_level="CRITICAL")
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _unreachable(address or "of this machine", error) from error
            self._connected = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ClusterStoppedError):
            atexit.unregister(self._ray.shutdown)
        elif self._connected:
            self._ray.shutdown()
            self._connected = False

    def run(self, task: Task[L, R], images: Iterable[L], notes: Notes) -> Iterator[tuple[L, R]]:
        """Each image with its result, in order, as `Engine.run`."""
        share = _share([node["Resources"] for node in self._ray.nodes() if node["Alive"]], task.threads, self._device)
        worker = self._ray.remote(TaskWorker).options(num_cpus=share.cores, num_gpus=share.gpus)
        sent = self._ray.put(task)  # once a machine, arrays without a copy a worker
        pool = _Pool(
            self._ray,
            lambda: worker.remote(sent, share.cores or 1, AUTO if share.gpus else CPU),
            share,
            self._patience,
            notes,
            self._head(),
        )
        for chunk, results in pool.run(chunks(images, task.batch_size)):
            _check_shared(chunk, results)
            yield from zip(chunk, results, strict=True)

    def _head(self) -> str | None:
        """HOST:PORT of the head; None where the cluster is reached by way of its client server."""
        with contextlib.suppress(Exception):
            return str(self._ray.get_runtime_context().gcs_address)
        return None


@dataclass(frozen=True, slots=True)
class _Share:
    """How a cluster is divided: so many workers, with so many cores and GPUs each."""

    workers: int
    cores: int
    gpus: int


@dataclass(order=True, slots=True)
class _Chunk:
    number: int
    images: list[Any] = field(compare=False)
    deaths: int = field(default=0, compare=False)


@dataclass(eq=False, slots=True)
class _Worker:
    actor: Any
    tasks: dict[Any, _Chunk] = field(default_factory=dict)  # by what Ray gives back; the first is being worked on
    is_there: bool = False


class _Pool:
    """Workers and their chunks."""

    def __init__(
        self, ray: Any, start: Callable[[], Any], share: _Share, patience: float, notes: Notes, head: str | None
    ) -> None:
        self._ray, self._start, self._share, self._head = ray, start, share, head
        self._seen = self._looked = time.monotonic()  # the head was seen; it was looked for
        self._patience, self._notes = patience, notes
        self._workers: list[_Worker] = []
        self._starting: dict[Any, _Worker] = {}
        self._waiting: list[_Chunk] = []  # a heap: chunks to be sent, the earliest first
        self._lost_in_a_row = 0  # workers, since a chunk was done
        self._done: dict[int, tuple[list[Any], Sequence[Any]]] = {}  # by number

    def run(self, chunks: Iterator[list[Any]]) -> Iterator[tuple[list[Any], Sequence[Any]]]:
        """Each chunk with its results, in order."""
        numbered, given = (_Chunk(number, images) for number, images in enumerate(chunks)), 0
        self._waiting = list(islice(numbered, self._share.workers))
        sent, last_seen = len(self._waiting), time.monotonic()
        try:
            for _ in self._waiting:
                self._add_worker()
            while given < sent:
                self._send_all()
                tasks = {task: worker for worker in self._workers for task in worker.tasks} | self._starting
                for task in self._ready(list(tasks)):
                    self._settle(task, tasks[task])
                if any(worker.is_there for worker in self._workers):
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > self._patience:
                    raise LibraryError(
                        f"the cluster gave no worker {self._share.cores} cores{' and a GPU' * self._share.gpus} for "
                        f"{self._patience:g} s; see what it is busy with (ray status), then run this again"
                    )
                while given in self._done:
                    yield self._done.pop(given)
                    given += 1
                for chunk in islice(numbered, max(0, given + _AHEAD * self._share.workers - sent)):
                    heapq.heappush(self._waiting, chunk)
                    sent += 1
        finally:
            for worker in self._workers:
                self._ray.kill(worker.actor)

    def _ready(self, tasks: list[Any]) -> list[Any]:
        """Tasks that are done, after a short wait. Raises LibraryError when the cluster has stopped."""
        try:
            ready: list[Any] = self._ray.wait(tasks, timeout=_LOOK)[0]
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            self._workers.clear()  # nobody is there to be told
            raise _stopped(error) from error
        if self._head is not None and time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            try:
                _connect(self._head)
                self._seen = time.monotonic()
            except OSError as error:
                if time.monotonic() - self._seen > _AWAY:
                    self._workers.clear()
                    raise _stopped(error) from error
        return ready

    def _add_worker(self) -> None:
        worker = _Worker(self._start())
        self._workers.append(worker)
        self._starting[worker.actor.host.remote()] = worker

    def _send_all(self) -> None:
        for places in range(1, _AT_ONCE + 1):  # one for everybody before a second for anybody
            for worker in self._workers:
                if worker.is_there and len(worker.tasks) < places and self._waiting:
                    chunk = heapq.heappop(self._waiting)
                    worker.tasks[worker.actor.work.remote(chunk.images)] = chunk

    def _settle(self, task: Any, worker: _Worker) -> None:
        """Take what a task gave. Raises LibraryError when it cannot be done by any worker."""
        if worker not in self._workers:  # lost a moment ago
            return
        exceptions = self._ray.exceptions
        try:
            found = self._ray.get(task)
        except (exceptions.RayTaskError, exceptions.RuntimeEnvSetupError) as error:
            raise _failed(error) from error
        except exceptions.RayError as error:
            if "ModuleNotFoundError" in str(error):
                raise _failed(error) from error
            self._replace(worker)
            return
        if task in self._starting:
            del self._starting[task]
            worker.is_there = True
            return
        if isinstance(found, _Failure):
            raise LibraryError(f"a worker of the cluster cannot do its work: {found.message}")
        chunk, self._lost_in_a_row = worker.tasks.pop(task), 0
        self._done[chunk.number] = (chunk.images, found)

    def _replace(self, worker: _Worker) -> None:
        """A worker is lost: start another, and send its chunks again."""
        if worker.is_there:  # else one that was to replace it, on a machine of which nobody knew yet that it is gone
            self._notes.add("lost_worker", "workers of the cluster that were lost; others took their images")
        self._starting = {task: one for task, one in self._starting.items() if one is not worker}
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # where it only could not be reached
        self._lost_in_a_row += 1
        for place, chunk in enumerate(worker.tasks.values()):
            chunk.deaths += place == 0
            if chunk.deaths == _MOST_DEATHS:
                first, last = chunk.images[0].path, chunk.images[-1].path
                raise self._too_many(_MOST_DEATHS, f" over the images from {first} to {last}")
            heapq.heappush(self._waiting, chunk)
        if self._lost_in_a_row > _MOST_DEATHS * self._share.workers:
            raise self._too_many(self._lost_in_a_row, "")
        self._add_worker()

    def _too_many(self, lost: int, where: str) -> LibraryError:
        return LibraryError(
            f"{lost} workers of the cluster were lost one after the other{where}; were they out of memory? Run "
            f"this again with fewer workers on a machine (--workers {2 * max(1, self._share.cores)}) or a smaller "
            "--batch-size"
        )


def _share(nodes: Sequence[dict[str, float]], cores: int, device: str) -> _Share:
    """One worker for each GPU, else for each group of `cores`, or of as many as the smallest machine has."""
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1] if device != CPU else []
    if with_gpus:
        least = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus)
        return _Share(sum(int(node["GPU"]) for node in with_gpus), min(cores, least), 1)
    if device == "cuda":
        raise ConfigError("the cluster has no GPU; leave --device cuda out")
    free = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not free:
        raise LibraryError("no machine of the cluster offers a core; start workers with: ray start --address HOST:PORT")
    cores = min(cores, min(free))
    return _Share(sum(here // cores for here in free), cores, 0)


def _check_shared(images: Sequence[Located], results: Sequence[Any]) -> None:
    """Raise DataError for a file that a worker does not find and this process can read."""
    for image, result in zip(images, results, strict=True):
        if isinstance(result, Skipped) and result.reason is Reason.MISSING and _is_here(image.ref):
            raise DataError(
                f"a worker of the cluster cannot read {image.path}, which is here ({one_line(result.detail)}); put the "
                "images where every machine finds them under the same path, such as on a shared drive, then run this "
                "again",
                Reason.MISSING,
            )


def _is_here(ref: ImageRef) -> bool:
    with contextlib.suppress(DataError, OSError):
        ref.content()
        return True
    return False


def _check_reachable(address: str) -> None:
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal() or not host:
        raise ConfigError(f"found the address {address!r}; expected HOST:PORT, ray://HOST:PORT or {LOCAL}")
    try:
        _connect(f"{host}:{port}")
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _REACH).close()


def _stopped(error: BaseException) -> ClusterStoppedError:
    return ClusterStoppedError(
        f"the Ray cluster stopped in the middle ({one_line(first_line(error))}); what was written is kept: start it "
        "again, then run this again"
    )


def _unreachable(address: str, error: BaseException) -> LibraryError:
    return LibraryError(
        f"the Ray cluster {address} cannot be reached ({one_line(first_line(error))}); check the address and that it "
        "runs (ray status), or start one: ray start --head"
    )


def _failed(error: BaseException) -> LibraryError:
    """An error in the code of a worker, by the last line of what it said."""
    said = one_line(str(error).strip().rpartition("\n")[2])
    advice = "; install the same version of Diptych on every machine" if "ModuleNotFoundError" in str(error) else ""
    return LibraryError(f"a worker of the cluster failed: {said}{advice}")
