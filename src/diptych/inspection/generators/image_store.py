"""Room for many images of one size: in memory while they are few, in a temporary file when they are many."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import UInt8

IN_MEMORY = 256 << 20  # bytes of images that are held in memory; more lie in a file


def room_for(shape: Sequence[int]) -> UInt8[np.ndarray, "*n"]:
    """An empty array of bytes. A large one is mapped from a file that is gone with the array, also after a crash.

    Raises ConfigError where the folder of temporary files has no room for it.
    """
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ConfigError(
            f"the images take {size / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free; set TMPDIR to a folder "
            "with more, or ask for fewer"
        )
    with tempfile.TemporaryFile(prefix="diptych-") as file:
        # the room is taken now: a disk that is full later would end the process where an image is written
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=tuple(shape))
