"""A new snapshot beside the writes: made by a process of its own at low priority, then current in one step.

Meanwhile, and when that process is killed, searches use the snapshot before and the journal of what was written since.
The process goes on when the one that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from diptych.core.errors import LibraryError
from diptych.library import card
from diptych.library.store.places import open_place

from .snapshots import Snapshots

_PAUSE = 10.0  # seconds between two starts for one library
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS", "LANCE_IO_THREADS")
_LOWEST = 19  # niceness

_started: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}  # by library; kept until they end


def start(folder: Path) -> None:
    """Start making a new snapshot, unless this process did so just now. What fails here costs time, not data."""
    folder = folder.resolve()
    process, at = _started.get(folder, (None, 0.0))
    if process is not None and (process.poll() is None or time.monotonic() - at < _PAUSE):
        return
    environment = {
        **os.environ,
        **dict.fromkeys(_THREADS, "1"),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is not meant for it
        )
        _started[folder] = (process, time.monotonic())


def main() -> None:
    """What that process does."""
    folder = Path(sys.argv[1])
    with contextlib.suppress(OSError):
        os.nice(_LOWEST)
    with contextlib.suppress(OSError, LibraryError):
        about = card.read(folder)
        Snapshots(folder, about, open_place(about, folder)).write_if_due()


if __name__ == "__main__":
    main()
