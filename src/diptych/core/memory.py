"""Memory that was used and is free goes back to the system; the C library keeps much of it otherwise."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back() -> None:
    """After work that took much memory for a short time. Does nothing where the system has no such call."""
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
