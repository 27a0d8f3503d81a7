"""Commands of diptych that stop when a time is over, for benchmarks whose trainings go on where they stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence

STOPPED = 130  # exit status of an interrupted command


def finished(command: Sequence[str], deadline: float) -> str | None:
    """What a command of diptych printed; None where it was interrupted because the time is over.

    The deadline is one of `time.monotonic()`, infinite for none. Exits where the command fails.
    """
    print("diptych", *command, flush=True)
    process = subprocess.Popen([sys.executable, "-m", "diptych", *command], stdout=subprocess.PIPE, text=True)
    try:
        left = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        output, _ = process.communicate(timeout=left)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        process.send_signal(signal.SIGINT)
        process.communicate()
        if isinstance(error, KeyboardInterrupt):
            raise
        return None
    if process.returncode == STOPPED:
        raise KeyboardInterrupt
    if process.returncode:
        raise SystemExit(f"diptych {' '.join(command)} failed with exit status {process.returncode}")
    return output
