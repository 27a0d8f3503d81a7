"""A retrieval sheet: each query with the first items found for it, the right ones framed green."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL.Image
from PIL import ImageDraw

from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Int64, UInt8
from diptych.data import views
from diptych.data.images import as_image, decode
from diptych.evaluation.nearest import k_nearest
from diptych.evaluation.positives import Positives
from diptych.evaluation.ranks import ranks_from_embeddings
from diptych.evaluation.report import ARROWS
from diptych.inspection.figures import FAINT, INK
from diptych.inspection.measure import DirectionVectors, Measured
from diptych.library.rendering import fitted, font_for, png, wrapped

Pick = Literal["random", "worst", "best"]
Image = UInt8[np.ndarray, "h w 3"]

_TILE, _GAP, _MARGIN, _FRAME = 168, 14, 28, 6  # pixels
_NOTE, _HEAD = 24, 56
_LINES = 8  # of a text, 18 pixels each
_PAPER, _PLAIN = "#ffffff", "#f1f2f4"
_RIGHT, _WRONG = "#16a34a", "#d1d5db"


@dataclass(frozen=True)
class SheetTile:
    """One item to draw: an image or a text, with a note below it. `right` is None for a query."""

    content: Image | str
    note: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class SheetRow:
    """A query and what was found for it, best first."""

    query: SheetTile
    found: tuple[SheetTile, ...]


def answerable(side: DirectionVectors) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
    """The queries that have something to find in the whole gallery, and the rank of their first right item."""
    own = own_places(side)
    labels, counts = np.unique(side.gallery_labels, return_counts=True)
    place = np.minimum(np.searchsorted(labels, side.query_labels), len(labels) - 1)
    relevant = np.where(labels[place] == side.query_labels, counts[place], 0) - (own is not None)
    queries = np.flatnonzero(relevant > 0)
    if own is None:
        positives = Positives.from_labels(side.query_labels[queries], side.gallery_labels)
    else:
        positives = Positives.among(side.gallery_labels, own[queries])
    itself = None if own is None else own[queries]
    return queries, ranks_from_embeddings(side.queries[queries], side.gallery, positives, itself=itself).best


def pick(best: Int64[np.ndarray, " q"], how: Pick, count: int, seed: int = 0) -> Int64[np.ndarray, " c"]:
    """Which to show: drawn at random, or those whose first right item came last ("worst") or first ("best")."""
    count = min(count, len(best))
    if how == "random":
        return np.sort(np.random.default_rng(seed).choice(len(best), count, replace=False))
    order = np.argsort(best, kind="stable")
    return order[:count] if how == "best" else order[::-1][:count]


def own_places(side: DirectionVectors) -> Int64[np.ndarray, " q"] | None:
    """Where the queries are in their own gallery; None when they are no items of it."""
    return side.query_item if side.query_kind == side.gallery_kind and not side.view_names else None


def rows_of(
    side: DirectionVectors,
    show: Callable[[str, int, str], Image | str],
    *,
    how: Pick = "random",
    count: int = 6,
    k: int = 5,
    seed: int = 0,
) -> list[SheetRow]:
    """Rows for some queries. `show(kind, item, view)` gives an image's pixels or a text."""
    queries, best = answerable(side)
    chosen = pick(best, how, count, seed)
    which, own = queries[chosen], own_places(side)
    places, scores = k_nearest(side.queries[which], side.gallery, k, itself=None if own is None else own[which])

    def row(at: int) -> SheetRow:
        query = int(which[at])
        view = side.view_names[query // len(side.gallery)] if side.view_names else ""
        note = f"{view or 'first right'}: place {best[chosen[at]] + 1:,}"
        found = tuple(
            SheetTile(
                show(side.gallery_kind, int(place), ""),
                f"{score:.3f}",
                bool(side.gallery_labels[place] == side.query_labels[query]),
            )
            for place, score in zip(places[at], scores[at], strict=True)
        )
        return SheetRow(SheetTile(show(side.query_kind, int(side.query_item[query]), view), note), found)

    return [row(at) for at in range(len(which))]


def draw_measured(
    measured: Measured, preprocess: Preprocess, *, how: Pick = "random", count: int = 6, k: int = 5, seed: int = 0
) -> bytes:
    """The sheet of an evaluation as PNG bytes, a section a direction.

    An image that has become unreadable since it was measured is drawn as its error. Raises ConfigError for queries
    and documents with labels.
    """
    if not measured.sides:
        raise ConfigError("no sheet is drawn of queries and documents with labels; leave --sheet out")

    def show(kind: str, item: int, view: str) -> Image | str:
        if kind == "text":
            return measured.texts[item]
        try:
            pixels = decode(measured.images[item], at_least=2 * _TILE)
        except DataError as error:
            return f"cannot be read: {error.reason}"
        return as_image(views.show_view(pixels, view, preprocess), preprocess) if view else pixels

    sections = []
    for name, side in measured.sides.items():
        title = f"{ARROWS[name]}: {count} {how} of {len(side.queries):,} queries, among {len(side.gallery):,}"
        sections.append((title, rows_of(side, show, how=how, count=count, k=k, seed=seed)))
    return png(draw_sheet(sections))


def draw_sheet(sections: Sequence[tuple[str, Sequence[SheetRow]]]) -> PIL.Image.Image:
    """The sheet as an RGB image: a titled block of rows a section, query on the left."""
    most = max((len(row.found) for _, rows in sections for row in rows), default=0)
    width = 2 * _MARGIN + _TILE + 2 * _GAP + most * (_TILE + _GAP)
    row_height = _TILE + _NOTE + _GAP
    height = 2 * _MARGIN + sum(_HEAD + len(rows) * row_height for _, rows in sections)
    sheet = PIL.Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for title, rows in sections:
        font = font_for(title, 20)
        draw.text((_MARGIN, y), fitted(title, font, width - 2 * _MARGIN), font=font, fill=INK)
        y += _HEAD - 12
        for row in rows:
            _draw_tile(sheet, draw, row.query, _MARGIN, y)
            for place, tile in enumerate(row.found):
                _draw_tile(sheet, draw, tile, _MARGIN + _TILE + 3 * _GAP + place * (_TILE + _GAP), y)
            y += row_height
        y += 12
    return sheet


def _draw_tile(sheet: PIL.Image.Image, draw: ImageDraw.ImageDraw, tile: SheetTile, x: int, y: int) -> None:
    box = (x, y, x + _TILE - 1, y + _TILE - 1)
    draw.rounded_rectangle(box, radius=8, fill=_PLAIN)
    inner = _TILE - 2 * _FRAME
    if isinstance(tile.content, str):
        _draw_text(draw, tile.content, x + _FRAME + 4, y + _FRAME + 4, inner - 8)
    else:
        image = PIL.Image.fromarray(tile.content)
        image.thumbnail((inner, inner), PIL.Image.Resampling.LANCZOS)
        sheet.paste(image, (x + (_TILE - image.width) // 2, y + (_TILE - image.height) // 2))
    if tile.right is not None:
        colour = _RIGHT if tile.right else _WRONG
        draw.rounded_rectangle(box, radius=8, outline=colour, width=_FRAME if tile.right else 2)
    note = f"✓ {tile.note}" if tile.right else tile.note
    font = font_for(note, 13)
    draw.text((x + 2, y + _TILE + 4), fitted(note, font, _TILE - 4), font=font, fill=_RIGHT if tile.right else FAINT)


def _draw_text(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, width: int) -> None:
    font = font_for(text, 14)
    for number, line in enumerate(wrapped(text, font, width, _LINES)):
        draw.text((x, y + 18 * number), line, font=font, fill=INK)
