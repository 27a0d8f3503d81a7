"""Memory that was used and is free goes back to the system; the C library keeps much of it otherwise."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_ARENA_MAX = -8  # of mallopt, in malloc.h
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads allocate from few pools. For a server: with one for each thread, each keeps its own leavings.

    Arrow, too, is told to use the C library's pools instead of its own, of which only the thread that asks gives
    memory back. Only pools that are made afterwards heed it, so call it first. Does nothing where the system has no
    such call.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """After work that took much memory for a short time. Does nothing where the system has no such call."""
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
