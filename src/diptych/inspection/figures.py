"""Figures drawn without a window, as PNG bytes."""

from __future__ import annotations

import io
from typing import Any

from diptych.core.extras import needed_by

INK, FAINT, GRID = "#16181d", "#6b7280", "#e5e7eb"
COLOURS = ("#1F5A7A", "#B4532A", "#5B8C5A", "#8A5A9E", "#C29B2F", "#3F8F8F", "#A63D57", "#6B7280")


def figure(width: float, height: float, what: str, dpi: int = 120) -> Any:
    """An empty figure of so many inches. Raises MissingExtraError for `what` where matplotlib is missing."""
    with needed_by(what):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    drawn = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def without_frame(axis: Any, *, grid: str = "y") -> None:
    """Remove the top and right lines of the frame, and draw a faint grid behind."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if grid:
        axis.grid(axis=grid, color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)


def png_of(drawn: Any) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    drawn.canvas.print_png(buffer)
    return buffer.getvalue()
