"""Images from outside are decoded in a pool of limited processes; one that dies or hangs is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.data.images import ImageLimits, Photo

from . import errors
from .decode_worker import LENGTH, frame
from .errors import log

THUMB = 256  # pixels, longer side
WHAT_CAME = "what was sent"  # in messages about an image without a name


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image after decoding."""

    pixels: UInt8[np.ndarray, "hh ww 3"]  # as the model wants them; 0 by 0 when no model was named
    thumb: bytes  # JPEG, freshly encoded
    width: int  # pixels of the full image, upright
    height: int
    photo: Photo  # what the image says about itself


class DecoderPool:
    """`await pool.decode(bytes)`; at most `size` at once, the others wait in line.

    Raises DataError as `diptych.data.images.decode` does; an image that kills its process or takes
    too long is `malformed`. Processes start when first needed.
    """

    def __init__(
        self,
        size: int,
        limits: ImageLimits,
        *,
        memory: int,
        deadline: float,
        most_waiting: int = 256,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits, self._memory, self._deadline = limits, memory, deadline
        self._most_waiting, self._on_replaced = most_waiting, on_replaced
        self._size, self._waiting = size, 0
        self._idle: list[asyncio.subprocess.Process] = []
        self._turns = asyncio.Semaphore(size)

    async def decode(
        self, data: bytes, preprocess: Preprocess | None = None, longest: int = THUMB, name: str = WHAT_CAME
    ) -> Decoded:
        """One image, called `name` in messages. Raises DataError, or ServeError(503) when too many wait."""
        self._limits.check_bytes(len(data), name)
        if self._waiting >= self._most_waiting:
            raise errors.overloaded(f"{self._waiting} images wait to be decoded already")
        self._waiting += 1
        try:
            async with self._turns:
                return await self._decode(self._request(data, preprocess, longest, name), preprocess, name)
        finally:
            self._waiting -= 1

    async def start(self) -> None:
        """Start all processes now, so that the first image need not wait."""
        self._idle += [await self._spawn() for _ in range(self._size - len(self._idle))]

    async def close(self) -> None:
        """Stop the processes. Call it when nothing is being decoded any more."""
        while self._idle:
            process = self._idle.pop()
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                await _end(process)

    async def _decode(self, request: list[bytes], preprocess: Preprocess | None, name: str) -> Decoded:
        process = self._idle.pop() if self._idle else await self._spawn()
        if process.returncode is not None:  # it died while idle
            self._on_replaced()
            process = await self._spawn()
        try:
            async with asyncio.timeout(self._deadline):
                answered = await _ask(process, request)
        except (EOFError, ConnectionError, ValueError, TimeoutError) as error:
            await _end(process)
            self._on_replaced()
            log.warning("a decoding process was replaced (%s)", type(error).__name__)
            raise DataError(f"{name} takes too much time or memory to decode", Reason.MALFORMED) from error
        except BaseException:  # cancelled: its answer would be taken for the next image's
            await asyncio.shield(_end(process))
            raise
        self._idle.append(process)
        return _decoded(answered, preprocess)

    def _request(self, data: bytes, preprocess: Preprocess | None, longest: int, name: str) -> list[bytes]:
        header = {
            "name": name,
            "bytes": len(data),
            "limits": asdict(self._limits),
            "preprocess": None if preprocess is None else preprocess.stated(),
            "longest": longest,
            "seconds": math.ceil(self._deadline),
        }
        return [frame(header), data]

    async def _spawn(self) -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "diptych.serve.decode_worker", str(self._memory),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, cwd="/",
            start_new_session=True,  # Ctrl-C is for the server, which then lets them finish
        )  # fmt: skip


async def _ask(process: asyncio.subprocess.Process, request: list[bytes]) -> tuple[dict[str, Any], bytes, bytes]:
    source, sink = process.stdout, process.stdin
    if source is None or sink is None:
        raise EOFError
    sink.writelines(request)
    await sink.drain()
    (length,) = LENGTH.unpack(await source.readexactly(LENGTH.size))
    header = json.loads(await source.readexactly(length))
    pixels = await source.readexactly(header.get("pixels", 0))
    return header, pixels, await source.readexactly(header.get("thumb", 0))


def _decoded(answered: tuple[dict[str, Any], bytes, bytes], preprocess: Preprocess | None) -> Decoded:
    header, pixels, thumb = answered
    if "reason" in header:
        raise DataError(str(header["message"]), Reason(str(header["reason"])))
    shape = (0, 0, 3) if preprocess is None else preprocess.shape
    shaped = np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    said = header["photo"]
    photo = Photo(said["said"], tuple(said["left_out"]))
    return Decoded(shaped, thumb, header["width"], header["height"], photo)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
