"""Give freed memory back to the system; otherwise the C library keeps much of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_ARENA_MAX = -8  # of mallopt, in malloc.h
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads allocate from two pools. For a server: otherwise each thread's pool keeps its own free memory.

    Arrow uses the C library's pools too, because its own give memory back only in the thread that asks. Only pools
    made afterwards are affected, so call it first. Does nothing where the system has no such call.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def trim_memory() -> None:
    """Give free memory back now, after work that used much of it. Does nothing where the system has no such call."""
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
