"""What a run writes for people: a row an epoch, a line every few steps, TensorBoard, and the learning curve."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from diptych.core.extras import need, needed_by
from diptych.core.files import write_bytes
from diptych.core.protocols import Progress

STEPS, TENSORBOARD, CURVE = "steps.jsonl", "tensorboard", "curve.png"
EPOCHS = ("log.jsonl", "log.csv")
LOG_FILES = (STEPS, CURVE, *EPOCHS)
_LONGEST_PAUSE = 30.0  # seconds after which a step gets a line, whatever its number
_BETWEEN_CURVES = 10.0  # seconds between two drawings of the curve, each of which takes a tenth of one


@dataclass(eq=False)
class RunLogger:
    """All logs of a run. Only the first process writes them.

    Entries after `epochs` and `steps` come from an interrupted run and are removed.

    Args:
        folder: of the run.
        epochs, steps: done.
        every: steps between two lines of `steps.jsonl`; 0 is none.
        tensorboard: write event files too.
        title: of the curve.
        progress: told when the package of TensorBoard is missing.
        enabled: False writes nothing.
    """

    folder: Path
    epochs: int
    steps: int
    _: KW_ONLY
    every: int
    tensorboard: bool
    title: str
    progress: Progress
    enabled: bool = True

    def __post_init__(self) -> None:
        self._epochs = EpochLog(self.folder)
        self._steps: StepLog | None = None
        self._board: Any = None
        self._curve = self.folder / CURVE
        self._drawn = time.monotonic()
        if self.enabled:
            need("matplotlib", "the learning curve")  # now, and not when the training is over
            self._epochs.restore(self.epochs)
            self._steps = StepLog(self.folder, self.steps) if self.every else None
            self._board = _tensorboard(self.folder, self.steps, self.progress) if self.tensorboard else None
        self.start_epoch()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One an epoch."""
        return self._epochs.rows

    def start_epoch(self) -> None:
        """Count pairs a second from now on."""
        self._since, self._pairs = time.perf_counter(), 0

    def wants(self, step: int, pairs: int) -> bool:
        """Whether step number `step` (from 1), of so many pairs, gets a line. Call it after each step."""
        self._pairs += pairs
        if not self._steps:
            return False
        return step % self.every == 0 or time.perf_counter() - self._since >= _LONGEST_PAUSE

    def add_step(self, step: int, row: Mapping[str, Any]) -> None:
        """Write a step's line."""
        speed = self._pairs / max(1e-9, time.perf_counter() - self._since)
        line = {"step": step, **row, "pairs_per_second": round(speed, 1)}
        if self._steps:
            self._steps.add(line)
        self._add_to_board("step", line, step)
        self.start_epoch()

    def add_epoch(self, row: Mapping[str, Any], step: int) -> None:
        """Write an epoch's row, and draw the curve anew where the last one is some seconds old."""
        if self.enabled:
            self._epochs.add(row)
            self._add_to_board("epoch", row, step)
            if time.monotonic() - self._drawn >= _BETWEEN_CURVES:
                self._draw()

    def _draw(self) -> None:
        draw_curve(self.rows, self._curve, self.title)
        self._drawn = time.monotonic()

    def _add_to_board(self, group: str, row: Mapping[str, Any], step: int) -> None:
        for name, value in row.items() if self._board else ():
            if isinstance(value, int | float) and name not in ("step", "epoch", "batch"):
                self._board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Draw the curve of all epochs, and close the files."""
        for part in (self._steps, self._board):
            if part:
                part.close()
        if self.enabled and self.rows and not self._epochs.is_older_than(self._curve):
            self._draw()


def remove_logs(folder: Path) -> None:
    """Remove the logs in a run's folder."""
    for name in LOG_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)


class EpochLog:
    """One row an epoch. The JSONL file is the truth; the CSV is the same rows for a spreadsheet."""

    def __init__(self, folder: Path) -> None:
        self._jsonl, self._csv = (folder / name for name in EPOCHS)
        self.rows: list[dict[str, Any]] = []

    def restore(self, epochs: int) -> None:
        """Read the rows of the first `epochs` epochs; later ones come from an interrupted run."""
        if self._jsonl.exists():
            lines = self._jsonl.read_text(encoding="utf-8").splitlines()
            self.rows = [json.loads(line) for line in lines[:epochs]]

    def is_older_than(self, path: Path) -> bool:
        """Whether a file was written after the last row, or with it."""
        return path.exists() and path.stat().st_mtime_ns >= self._jsonl.stat().st_mtime_ns

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and rewrite both files atomically."""
        self.rows.append(dict(row))
        write_bytes(self._jsonl, "".join(json.dumps(each) + "\n" for each in self.rows).encode())
        columns = list(dict.fromkeys(key for each in self.rows for key in each))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self._csv, text.getvalue().encode())


class StepLog:
    """One line every few steps. Lines are appended without waiting for the disk; a crash may lose the last few.

    Args:
        folder: of the run.
        step: steps done; lines of later ones come from an interrupted run and are removed.
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
        """Close the file."""
        self._stream.close()


def _step_of(line: bytes) -> float:
    """A line that a kill cut short belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _tensorboard(folder: Path, step: int, progress: Progress) -> Any:
    """A writer of event files in `folder/tensorboard`; None without the package, which is said."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        progress.say("no TensorBoard files: its package is not installed; run: pip install tensorboard")
        return None
    writer: Any = SummaryWriter
    return writer(str(folder / TENSORBOARD), purge_step=step + 1 if step else None)


def draw_curve(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Loss (left axis) and validation score (right axis) by epoch, and the learning rate below, as a PNG."""
    with needed_by("the learning curve"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    red, blue = "#B4532A", "#1F5A7A"
    figure = Figure(figsize=(7, 4), dpi=120)
    canvas = FigureCanvasAgg(figure)
    margins = {"left": 0.12, "right": 0.89, "top": 0.93, "bottom": 0.12, "hspace": 0.08}  # finding them takes as long
    loss_axis, rate_axis = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1], gridspec_kw=margins)
    epochs = [row["epoch"] for row in rows]
    rate_axis.fill_between(epochs, [row.get("learning_rate", 0.0) for row in rows], color="#8A8F98", alpha=0.5)
    rate_axis.set_ylim(bottom=0)
    rate_axis.set_ylabel("rate")
    rate_axis.set_xlabel("epoch")
    rate_axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss_axis.plot(epochs, [row["loss"] for row in rows], color=red, marker="o", markersize=3)
    loss_axis.set_ylabel("training loss", color=red)
    score_axis = loss_axis.twinx()
    scored = [(row["epoch"], row["score"]) for row in rows if row["score"] is not None]
    score_axis.plot([epoch for epoch, _ in scored], [score for _, score in scored], "o-", color=blue, markersize=3)
    score_axis.set_ylabel("validation rsum", color=blue)
    for name in sorted({name for row in rows for name in row if name.endswith(" score")}):  # of each of several sources
        own = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
        score_axis.plot(*zip(*own, strict=True), "--", linewidth=1, label=name.removesuffix(" score"))
    if score_axis.get_legend_handles_labels()[1]:
        score_axis.legend(loc="lower right", fontsize="small")
    if scored:
        best = max(scored, key=lambda each: each[1])
        offset: dict[str, Any] = {"textcoords": "offset points", "xytext": (-8, -16), "ha": "right"}
        score_axis.annotate(f"best {best[1]:.1f}", best, color=blue, **offset)
    for axis in (loss_axis, score_axis, rate_axis):
        axis.spines["top"].set_visible(False)
    loss_axis.set_title(title, loc="left")
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    write_bytes(path, buffer.getvalue())
