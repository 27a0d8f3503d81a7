"""An atlas as one HTML file that asks nothing of any network, and as a PNG."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from typing import Any

import numpy as np

from diptych.core.shapes import Bool, Float32

from .atlas import Atlas, Map, Point
from .figures import COLOURS, FAINT, INK, figure, png_of

_CELLS = 14  # images shown across the PNG, at most
_WORDS = 70  # words written into the PNG, at most


def to_html(atlas: Atlas) -> str:
    """The page: pan, zoom, hover, colours, search. Everything from the source is escaped."""
    page = files(__package__).joinpath("atlas.html").read_text(encoding="utf-8")
    images = [None if data is None else base64.b64encode(data).decode("ascii") for data in atlas.thumbnails]
    data = {"title": atlas.title, "maps": [_map_json(one) for one in atlas.maps], "images": images}
    # "<" would let a text end the script element; the other two are no line ends in old JavaScript
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    written = written.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return page.replace("@TITLE@", html.escape(atlas.title)).replace("@DATA@", written)


def to_png(atlas: Atlas) -> bytes:
    """Every map side by side: images where there is room for them, the commonest words by name."""
    drawn = figure(8 * len(atlas.maps), 8, "the map as an image", dpi=110)
    axes = drawn.subplots(1, len(atlas.maps), squeeze=False)[0]
    for axis, one in zip(axes, atlas.maps, strict=True):
        axis.set(xlim=(-1.04, 1.04), ylim=(-1.04, 1.04), aspect="equal")
        axis.set_axis_off()
        axis.set_title(f"{one.title}: {len(one.points):,}", loc="left", fontsize=12)
        _draw_points(axis, one)
        if one.points[0].kind == "word":
            _write_words(axis, one)
        else:
            _place_images(axis, one, atlas)
    drawn.suptitle(atlas.title, x=0.01, ha="left", fontsize=13)
    return png_of(drawn)


def _map_json(one: Map) -> dict[str, Any]:
    return {
        "title": one.title,
        "x": [round(float(x), 4) for x in one.places[:, 0]],
        "y": [round(float(y), 4) for y in one.places[:, 1]],
        **{name.name: [getattr(point, name.name) for point in one.points] for name in fields(Point)},
    }


def _draw_points(axis: Any, one: Map) -> None:
    by = [point.lang or "unknown" if point.kind == "word" else point.kind for point in one.points]
    names = sorted(set(by))
    for place, name in enumerate(names):
        which = np.array([value == name for value in by])
        sizes = np.array([4 + 3 * np.log(point.count) for point in one.points])[which]
        axis.scatter(
            *one.places[which].T, s=sizes, color=COLOURS[place % len(COLOURS)], alpha=0.5, linewidth=0, label=name
        )
    if len(names) > 1:
        axis.legend(frameon=False, loc="upper right", markerscale=2.5, fontsize=9)


def _place_images(axis: Any, one: Map, atlas: Atlas) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from PIL import Image

    shown = np.array([point.kind == "image" and atlas.thumbnails[point.record] is not None for point in one.points])
    for number in _one_a_cell(one.places, shown, _CELLS):
        data = atlas.thumbnails[one.points[number].record]
        if data is None:
            continue
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        box = OffsetImage(image, zoom=0.3)
        x, y = (float(value) for value in one.places[number])
        axis.add_artist(
            AnnotationBbox(box, (x, y), frameon=True, pad=0.08, bboxprops={"edgecolor": FAINT, "linewidth": 0.5})
        )


def _write_words(axis: Any, one: Map) -> None:
    """The commonest words, as many as have room of their own."""
    taken: list[tuple[float, float, float]] = []
    for number in sorted(range(len(one.points)), key=lambda at: -one.points[at].count):
        word, (x, y) = one.points[number].text, (float(value) for value in one.places[number])
        half = 0.013 * len(word) + 0.01
        if all(abs(y - other_y) > 0.045 or abs(x - other_x) > half + other for other_x, other_y, other in taken):
            axis.annotate(word, (x, y), ha="center", va="center", fontsize=8.5, color=INK)
            taken.append((x, y, half))
        if len(taken) == _WORDS:
            return


def _one_a_cell(places: Float32[np.ndarray, "n 2"], which: Bool[np.ndarray, " n"], cells: int) -> Iterator[int]:
    """Of each cell of a grid, the point nearest to its middle."""
    scaled = (places + 1) / 2 * cells
    cell = np.clip(np.floor(scaled), 0, cells - 1)
    away = np.abs(scaled - cell - 0.5).max(axis=1)
    nearest_first = np.flatnonzero(which)[np.argsort(away[which], kind="stable")]
    _, first = np.unique(cell[nearest_first], axis=0, return_index=True)
    yield from nearest_first[np.sort(first)].tolist()
