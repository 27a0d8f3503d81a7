"""Memory that was used and is free goes back to the system; the C library keeps much of it otherwise."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # of mallopt, in malloc.h
_ARENAS = 2
_LARGE = 262_144  # bytes


def keep_little() -> None:
    """For a server: let all threads allocate from few pools, and large blocks from none, so that little is left over.

    With a pool for each thread, each keeps its own leavings. And left alone the C library takes ever larger blocks
    from its pools, where one small block that lives on keeps megabytes. Only pools that are made afterwards heed it,
    so call it first. Does nothing where the system has no such call.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, _ARENAS)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """After work that took much memory for a short time. Does nothing where the system has no such call."""
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
