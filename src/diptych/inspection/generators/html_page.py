"""Parts of self-contained HTML pages: no request to any network, light and dark, everything escaped."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

import numpy as np
import PIL.Image

from diptych.core.shapes import UInt8
from diptych.library.rendering import png

_WIDTH, _HEIGHT = 320, 150  # of a chart, in its own units
_LEFT, _BOTTOM = 44, 18


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page: a heading, a sentence, and titled sections whose bodies are HTML already."""
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    listed = [(f"s{number}", name, body) for number, (name, body) in enumerate(sections) if body]
    links = "".join(f'<a href="#{key}">{html.escape(name)}</a>' for key, name, _ in listed)
    body = "".join(f'<section id="{key}"><h2>{html.escape(name)}</h2>{inner}</section>' for key, name, inner in listed)
    for mark, value in (("@TITLE@", html.escape(title)), ("@LEAD@", html.escape(lead)), ("@LINKS@", links)):
        template = template.replace(mark, value)
    return template.replace("@BODY@", body)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table of plain texts; columns but the first are numbers. `notes` explain the rows, one each."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    lines = []
    for number, row in enumerate(rows):
        note = f"<small>{html.escape(notes[number])}</small>" if number < len(notes) and notes[number] else ""
        first = f'<th scope="row">{html.escape(row[0])}{note}</th>'
        lines.append(f"<tr>{first}{''.join(f'<td>{html.escape(cell)}</td>' for cell in row[1:])}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def image_figure(
    pixels: UInt8[np.ndarray, "h w 3"], caption: str = "", verdict: bool | None = None, about: str = ""
) -> str:
    """An image with what it is; `verdict` marks it right or wrong by a frame and a sign."""
    kind = {True: "right", False: "wrong", None: ""}[verdict]
    sign = {True: "✓ ", False: "✗ ", None: ""}[verdict]
    alt = html.escape(about or caption, quote=True)
    data = png(PIL.Image.fromarray(np.ascontiguousarray(pixels)))
    shown = f'<img class="pixels" src="{_png_uri(data)}" alt="{alt}" width="{max(64, pixels.shape[1])}">'
    return f'<figure class="{kind}">{shown}<figcaption>{sign}{html.escape(caption)}</figcaption></figure>'


def row(parts: Iterable[str], label: str = "") -> str:
    """Figures side by side, after a label."""
    return f'<div class="row">{f"<b>{html.escape(label)}</b>" if label else ""}{"".join(parts)}</div>'


def pairs(rows: Iterable[str]) -> str:
    """Short rows, as many beside each other as there is room for."""
    return f'<div class="pairs">{"".join(rows)}</div>'


def png_figure(data: bytes, caption: str) -> str:
    """A PNG file as it is, at its own size."""
    text = html.escape(caption, quote=True)
    shown = f'<img src="{_png_uri(data)}" alt="{text}">'
    return f'<figure class="sheet">{shown}<figcaption>{text}</figcaption></figure>'


def _png_uri(data: bytes) -> str:
    """A PNG inside the page."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def charts(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], axis: str) -> str:
    """A small line chart for each series of (x, y), with its last value; numbers that are not finite break a line."""
    drawn = [_chart(name, xs, ys, axis) for name, (xs, ys) in series.items()]
    return f'<div class="charts">{"".join(one for one in drawn if one)}</div>'


def _chart(name: str, xs: Sequence[float], ys: Sequence[float], axis: str) -> str:
    finite = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return ""
    low, high = min(y for _, y in finite), max(y for _, y in finite)
    first, last = min(x for x, _ in finite), max(x for x, _ in finite)
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2

    def at(x: float, y: float) -> str:
        across = (x - first) / (last - first) if last > first else 0.5
        return (
            f"{_LEFT + across * (_WIDTH - _LEFT - 8):.1f},"
            f"{8 + (high - y) / (high - low) * (_HEIGHT - _BOTTOM - 14):.1f}"
        )

    pieces: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append(at(x, y))
        elif pieces[-1]:
            pieces.append([])
    lines = "".join(f'<polyline points="{" ".join(piece)}"/>' for piece in pieces if len(piece) > 1)
    end = at(*finite[-1]).split(",")
    gaps = len(xs) - len(finite)
    label = f"{name}: {_short(finite[-1][1])} at {axis} {_short(finite[-1][0])}"
    return (
        f'<figure class="chart"><figcaption>{html.escape(name)} <b>{_short(finite[-1][1])}</b>'
        f"{f' ({gaps} not finite)' if gaps else ''}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f'<path class="axis" d="M{_LEFT} 4V{_HEIGHT - _BOTTOM}H{_WIDTH - 4}"/>{lines}'
        f'<circle cx="{end[0]}" cy="{end[1]}" r="3"/>'
        f'<text x="{_LEFT - 5}" y="14" class="end">{_short(high)}</text>'
        f'<text x="{_LEFT - 5}" y="{_HEIGHT - _BOTTOM}" class="end">{_short(low)}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">{_short(first)}</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 4}" class="end">{html.escape(axis)} {_short(last)}</text></svg></figure>'
    )


def _short(value: float) -> str:
    if value and abs(value) < 0.001:
        return f"{value:.0e}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
