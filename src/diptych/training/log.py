"""The run's log as JSON lines and CSV, and its learning curve as a PNG."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.core.extras import needed_by
from diptych.core.files import write_bytes

LOGS = ("log.jsonl", "log.csv")


class RunLog:
    """One row an epoch. The JSONL file is the truth; the CSV is the same rows for a spreadsheet."""

    def __init__(self, folder: Path) -> None:
        self._jsonl, self._csv = (folder / name for name in LOGS)
        self.rows: list[dict[str, Any]] = []

    def restore(self, epochs: int) -> None:
        """Take back the rows of the first `epochs` epochs; later ones belong to an interrupted future."""
        if self._jsonl.exists():
            lines = self._jsonl.read_text(encoding="utf-8").splitlines()
            self.rows = [json.loads(line) for line in lines[:epochs]]

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


def draw_curve(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Loss (left axis) and validation score (right axis) by epoch, and the learning rate below, as a PNG."""
    with needed_by("the learning curve"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    loss_axis, rate_axis = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    epochs = [row["epoch"] for row in rows]
    rate_axis.fill_between(epochs, [row.get("learning_rate", 0.0) for row in rows], color="#8A8F98", alpha=0.5)
    rate_axis.set_ylim(bottom=0)
    rate_axis.set_ylabel("rate")
    rate_axis.set_xlabel("epoch")
    rate_axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss_axis.plot(epochs, [row["loss"] for row in rows], color="#B4532A", marker="o", markersize=3)
    loss_axis.set_ylabel("training loss", color="#B4532A")
    score_axis = loss_axis.twinx()
    scored = [(row["score"], row["epoch"]) for row in rows if row["score"] is not None]
    score_axis.plot([epoch for _, epoch in scored], [score for score, _ in scored], "o-", color="#1F5A7A", markersize=3)
    score_axis.set_ylabel("validation rsum", color="#1F5A7A")
    if scored:
        best, epoch = max(scored, key=lambda each: each[0])
        score_axis.annotate(
            f"best {best:.1f}",
            (epoch, best),
            textcoords="offset points",
            xytext=(-8, -16),
            ha="right",
            color="#1F5A7A",
        )
    for axis in (loss_axis, score_axis, rate_axis):
        axis.spines["top"].set_visible(False)
    loss_axis.set_title(title, loc="left")
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    write_bytes(path, buffer.getvalue())
