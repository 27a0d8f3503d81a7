"""Writes that a client may send again: the same `Idempotency-Key` gives the same answer, and is done once.

Answers are kept in memory: the latest 1,000, an hour each, until the server stops. A write goes on when its
request has gone or ran out of time, so that the repeat gets its result.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, Any, TypeVar

from fastapi import Header, Request, UploadFile

from diptych.core.errors import DiptychError

from . import errors
from .errors import ServeError

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, T]]

HEADER = "Idempotency-Key"
MOST = 1_000  # answers
SECONDS = 3_600.0
_PIECE = 1 << 20  # bytes
Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=255,
        description="Such as a UUID. Sent again with the same key, a write is not done again and has the same answer.",
    ),
]


@dataclass(slots=True)
class _Write:
    said: str  # digest of what was asked for
    work: asyncio.Task[Any]
    since: float  # monotonic seconds


class Once:
    """`await once.run(key, said, work)` gives what `work()` gave or raised, which was done once for each key."""

    def __init__(self, most: int = MOST, seconds: float = SECONDS) -> None:
        self._most, self._seconds = most, seconds
        self._writes: OrderedDict[str, _Write] = OrderedDict()

    def __len__(self) -> int:
        return len(self._writes)

    async def run(self, key: str, said: str, work: Work[T]) -> T:
        """A repeat waits for the first. Raises ServeError(422) for the same key with another request.

        What failed in a way that passes (busy, late, a full disk, a defect) is forgotten: a repeat tries it again.
        """
        self._forget_old()
        write = self._writes.get(key)
        if write is None:
            write = _Write(said, asyncio.create_task(work()), time.monotonic())
            self._writes[key] = write
            write.work.add_done_callback(lambda task: self._finished(key, task))
        elif write.said != said:
            raise ServeError(
                422,
                "key_reused",
                f"this {HEADER} was sent with another request before",
                "Give every write a key of its own; send a key again only with the same request.",
            )
        found: T = await asyncio.shield(write.work)
        return found

    def _finished(self, key: str, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or not _is_final(task.exception()):
            self._writes.pop(key, None)

    async def close(self) -> None:
        """Finish what is under way."""
        await asyncio.gather(*(write.work for write in self._writes.values()), return_exceptions=True)

    def _forget_old(self) -> None:
        """The oldest go; one under way stays, however many there are: the gate bounds those."""
        before = time.monotonic() - self._seconds
        surplus = len(self._writes) - self._most + 1
        for key, write in list(self._writes.items()):
            if surplus <= 0 and write.since >= before:
                return
            if write.work.done():
                del self._writes[key]
                surplus -= 1


def _is_final(error: BaseException | None) -> bool:
    """Whether a repeat would end the same way."""
    if error is None:
        return True
    return isinstance(error, DiptychError) and (known := errors.of(error)).status < 500 and known.retry_after is None


async def digest(request: Request, said: Sequence[str], files: Sequence[UploadFile] = ()) -> str:
    """Of what a request asks for; a form's boundary, which differs each time, is no part of it."""
    uploaded = [(file.filename, await asyncio.to_thread(_digest_of, file.file)) for file in files]
    parts = json.dumps([request.method, request.url.path, *said, uploaded])
    return hashlib.sha256(parts.encode()).hexdigest()


def _digest_of(stream: IO[bytes]) -> str:
    found = hashlib.sha256()
    while piece := stream.read(_PIECE):
        found.update(piece)
    stream.seek(0)
    return found.hexdigest()
