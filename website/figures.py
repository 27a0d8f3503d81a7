"""The figures of docs/explain, as SVG: `python -m website.figures` writes them into docs/images.

Each is boxes on a grid and arrows between them, on a light ground of its own, so that it reads on a dark page too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

OUT = Path(__file__).parents[1] / "docs" / "images"
WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 150, 52, 190, 90, 20  # of a box; between two; around all, in pixels
FILLS = {"plain": "#ffffff", "frozen": "#dce6f5", "learns": "#fbe3c8", "result": "#dcefdc"}


@dataclass(frozen=True)
class Box:
    """A part: its column and row on the grid, one or two lines of text, and what it is."""

    column: float
    row: float
    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Figure:
    """Boxes by name, and arrows between two names."""

    title: str
    boxes: dict[str, Box]
    arrows: Sequence[tuple[str, str]]


FIGURES = {
    "explain-parts": Figure(
        "From a source of pairs to search results: how the parts of Diptych follow each other",
        {
            "source": Box(0, 0.5, "source\npairs, images, texts"),
            "towers": Box(1, 0.5, "towers\npixels, words → features", "frozen"),
            "training": Box(2, 0, "training\nlosses, batches", "learns"),
            "model": Box(3, 0, "model\na folder", "result"),
            "evaluation": Box(4, 0, "evaluation\nR@k, intervals"),
            "library": Box(3, 1, "library\nvectors and rows", "result"),
            "serve": Box(4, 1, "search, serve\ncommand, page, API"),
        },
        [
            ("source", "towers"), ("towers", "training"), ("training", "model"), ("model", "evaluation"),
            ("model", "library"), ("towers", "library"), ("library", "serve"),
        ],
    ),
    "explain-dual-encoder": Figure(
        "A dual encoder: image and text each become a vector; their cosine is the score",
        {
            "image": Box(0, 0, "image"),
            "text": Box(0, 1, "text"),
            "image tower": Box(1, 0, "image tower", "frozen"),
            "text tower": Box(1, 1, "text tower", "frozen"),
            "image head": Box(2, 0, "head", "learns"),
            "text head": Box(2, 1, "head", "learns"),
            "image vector": Box(3, 0, "vector\nlength 1"),
            "text vector": Box(3, 1, "vector\nlength 1"),
            "score": Box(4, 0.5, "cosine\nthe score", "result"),
        },
        [
            ("image", "image tower"), ("image tower", "image head"), ("image head", "image vector"),
            ("text", "text tower"), ("text tower", "text head"), ("text head", "text vector"),
            ("image vector", "score"), ("text vector", "score"),
        ],
    ),
    "explain-training": Figure(
        "A training: features are computed once; batches of them go through the heads, whose loss moves the weights",
        {
            "source": Box(0, 0, "records\nfor training"),
            "features": Box(1, 0, "cached features\nof the towers", "frozen"),
            "batch": Box(2, 0, "batch\nb images, b texts"),
            "heads": Box(3, 0, "heads\nb × b cosines", "learns"),
            "loss": Box(4, 0, "loss\none number"),
            "held out": Box(2, 1, "records\nheld out"),
            "validation": Box(3, 1, "validation\nafter each epoch"),
            "best": Box(4, 1, "best epoch\na model folder", "result"),
        },
        [
            ("source", "features"), ("features", "batch"), ("batch", "heads"), ("heads", "loss"),
            ("heads", "validation"), ("held out", "validation"), ("validation", "best"),
        ],
    ),
    "explain-search": Figure(
        "A search: the query becomes a vector; the nearest rows are filtered, and perhaps re-ranked",
        {
            "query": Box(0, 0, "query\nwords, image, sum"),
            "vector": Box(1, 0, "vector", "frozen"),
            "snapshot": Box(2, 0, "snapshot\nall vectors, in memory"),
            "hits": Box(3, 0, "hits\nby the cosine", "result"),
            "rerank": Box(4, 0, "cross-encoder\nre-ranks the best"),
            "index": Box(0, 1, "diptych index\nnew, changed files"),
            "rows": Box(1, 1, "store\nrows and vectors"),
            "journal": Box(2, 1, "journal\nwhat changed since"),
            "where": Box(3, 1, "--where\nwhich rows count"),
        },
        [
            ("query", "vector"), ("vector", "snapshot"), ("snapshot", "hits"), ("hits", "rerank"),
            ("index", "rows"), ("rows", "journal"), ("journal", "snapshot"), ("where", "hits"),
        ],
    ),
    "explain-preprocessing": Figure(
        "How an image is prepared: its sides become the model's, then its colours are normalised",
        {
            "image": Box(0, 1, "image\nany two sides"),
            "squash": Box(1, 0, "squash\nboth sides 224"),
            "shortest": Box(1, 1, "shortest\nshorter side 224"),
            "longest": Box(1, 2, "longest\nlonger side 224"),
            "cut": Box(2, 1, "centre cut\n224 x 224"),
            "pad": Box(2, 2, "padded with fill\n224 x 224"),
            "colours": Box(3, 1, "(x - mean) / std\neach channel"),
            "model": Box(4, 1, "image tower", "frozen"),
        },
        [
            ("image", "squash"), ("image", "shortest"), ("image", "longest"), ("squash", "colours"),
            ("shortest", "cut"), ("longest", "pad"), ("cut", "colours"), ("pad", "colours"), ("colours", "model"),
        ],
    ),
    "explain-tokenisation": Figure(
        "How a text becomes tokens: cleaned, cut into pieces, each piece a number, cut or padded to the model's length",
        {
            "text": Box(0, 0, "text\nA photo of a cat!"),
            "cleaned": Box(1, 0, "cleaned\na photo of a cat !"),
            "pieces": Box(2, 0, "tokenizer\npieces, as ids", "frozen"),
            "closed": Box(3, 0, "begin, end\ncut to the length"),
            "padded": Box(4, 0, "ids and mask\npadded", "result"),
        },
        [("text", "cleaned"), ("cleaned", "pieces"), ("pieces", "closed"), ("closed", "padded")],
    ),
    "explain-protocols": Figure(
        "How the numbers arise: all cosines, the rank of the best right item of each query, then shares and intervals",
        {
            "images": Box(0, 0, "n images\nof the split"),
            "texts": Box(0, 1, "m texts\nof the split"),
            "scores": Box(1, 0.5, "n x m cosines\nties count against"),
            "i2t": Box(2, 0, "image to text\nbest right text's rank"),
            "t2i": Box(2, 1, "text to image\nbest right image's rank"),
            "metrics": Box(3, 0.5, "R@k, medR, mAP\nmeans over queries", "result"),
            "intervals": Box(4, 0.5, "95 % intervals\n1,000 resamples"),
        },
        [
            ("images", "scores"), ("texts", "scores"), ("scores", "i2t"), ("scores", "t2i"), ("i2t", "metrics"),
            ("t2i", "metrics"), ("metrics", "intervals"),
        ],
    ),
}  # fmt: skip


def svg(figure: Figure) -> str:
    """The figure as one SVG document."""
    width = 2 * EDGE + WIDTH + ACROSS * max(box.column for box in figure.boxes.values())
    height = 2 * EDGE + HEIGHT + DOWN * max(box.row for box in figure.boxes.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
        f' aria-label="{escape(figure.title)}" font-family="system-ui, sans-serif" font-size="13" fill="#1b2330">',
        f"<title>{escape(figure.title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#4a5568"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#f4f6fa"/>',
    ]
    lines += [_arrow(figure.boxes[start], figure.boxes[end]) for start, end in figure.arrows]
    lines += [_box(box) for box in figure.boxes.values()]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _place(box: Box) -> tuple[float, float]:
    return EDGE + ACROSS * box.column, EDGE + DOWN * box.row


def _arrow(start: Box, end: Box) -> str:
    """From the side of one box that faces the other to that one's side."""
    (x, y), (to_x, to_y) = _place(start), _place(end)
    if start.column == end.column:
        down = to_y > y
        ends = (x + WIDTH / 2, y + HEIGHT * down, to_x + WIDTH / 2, to_y + HEIGHT * (not down))
    else:
        ends = (x + WIDTH, y + HEIGHT / 2, to_x, to_y + HEIGHT / 2)
    points = " ".join(f'{name}="{value:g}"' for name, value in zip(("x1", "y1", "x2", "y2"), ends, strict=True))
    return f'<line {points} stroke="#4a5568" stroke-width="1.5" marker-end="url(#tip)"/>'


def _box(box: Box) -> str:
    x, y = _place(box)
    first, _, second = box.text.partition("\n")
    middle = x + WIDTH / 2
    lines = [
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{FILLS[box.kind]}"'
        ' stroke="#4a5568"/>'
    ]
    height = y + HEIGHT / 2 + (-3 if second else 5)
    lines.append(f'<text x="{middle:g}" y="{height:g}" text-anchor="middle" font-weight="600">{escape(first)}</text>')
    if second:
        lines.append(
            f'<text x="{middle:g}" y="{height + 16:g}" text-anchor="middle" font-size="11">{escape(second)}</text>'
        )
    return "".join(lines)


if __name__ == "__main__":
    for name, figure in FIGURES.items():
        (OUT / f"{name}.svg").write_text(svg(figure), encoding="utf-8")
