"""All that a run writes down for people: lines an epoch, lines a few steps, TensorBoard, and the curve."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.core.files import write_bytes
from diptych.core.protocols import Progress
from diptych.training.log import LOGS, RunLog, draw_curve

_SILENCE = 30.0  # seconds after which a step gets a line, whatever its number
STEPS, TENSORBOARD, CURVE = "steps.jsonl", "tensorboard", "curve.png"
JOURNAL_FILES = (STEPS, CURVE, *LOGS)


class Journal:
    """The main process's records of a run; on other processes it keeps quiet.

    Args:
        folder: of the run.
        epochs, steps: done; what was written of later ones belongs to an interrupted future and goes.
        every: steps between two lines of `steps.jsonl`; 0 is none.
        tensorboard: write event files too.
        title: of the curve.
        quiet: write nothing.
    """

    def __init__(
        self,
        folder: Path,
        epochs: int,
        steps: int,
        *,
        every: int,
        tensorboard: bool,
        title: str,
        progress: Progress,
        quiet: bool = False,
    ) -> None:
        self._folder = folder
        self._title = title
        self._every = every
        self._log = RunLog(folder)
        self._step_log: StepLog | None = None
        self._board: TensorBoard | None = None
        self._quiet = quiet
        if not quiet:
            self._log.restore(epochs)
            self._step_log = StepLog(folder, steps) if every else None
            self._board = TensorBoard(folder, steps, progress) if tensorboard else None
        self.start_epoch()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One an epoch."""
        return self._log.rows

    def start_epoch(self) -> None:
        """The clock that pairs a second are measured by starts anew."""
        self._since, self._pairs = time.perf_counter(), 0

    def wants(self, step: int, pairs: int) -> bool:
        """Told each step (from 1) and its pairs: whether it is one that gets a line, as slow ones all do."""
        self._pairs += pairs
        if self._quiet or not self._every:
            return False
        return step % self._every == 0 or time.perf_counter() - self._since >= _SILENCE

    def add_step(self, step: int, row: Mapping[str, Any]) -> None:
        """Write a step's line."""
        speed = self._pairs / max(1e-9, time.perf_counter() - self._since)
        line = {"step": step, **row, "pairs_per_second": round(speed, 1)}
        if self._step_log:
            self._step_log.add(line)
        if self._board:
            self._board.add("step", {key: line[key] for key in line.keys() - {"step", "epoch", "batch"}}, step)
        self.start_epoch()

    def add_epoch(self, row: Mapping[str, Any], step: int) -> None:
        """Write an epoch's row, and draw the curve anew."""
        if self._quiet:
            return
        self._log.add(row)
        if self._board:
            self._board.add("epoch", {key: value for key, value in row.items() if key != "epoch"}, step)
        draw_curve(self._log.rows, self._folder / CURVE, self._title)

    def close(self) -> None:
        """Nothing more will come."""
        for part in (self._step_log, self._board):
            if part:
                part.close()


def forget(folder: Path) -> None:
    """Remove what a journal left in a run's folder."""
    for name in JOURNAL_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)


class StepLog:
    """One line every few steps. Lines are appended without waiting for the disk: losing the last few is no harm.

    Args:
        folder: of the run.
        step: steps done; lines of later ones belong to an interrupted future and go.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / STEPS
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            write_bytes(path, b"".join(line for line in lines if _step_of(line) <= step))
        self._stream = path.open("a", encoding="utf-8", buffering=1)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one line."""
        self._stream.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """No more lines."""
        self._stream.close()


def _step_of(line: bytes) -> float:
    """A line that a kill cut short belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class TensorBoard:
    """The same numbers as event files in `folder/tensorboard`; says so once and does nothing without the package."""

    def __init__(self, folder: Path, step: int, progress: Progress) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            progress.say("no TensorBoard files: its package is not installed; run: pip install tensorboard")
            return
        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1 if step else None)

    def add(self, group: str, row: Mapping[str, Any], step: int) -> None:
        """Write each number of `row` as `group/name` at `step`."""
        if self._writer is not None:
            for name, value in row.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
