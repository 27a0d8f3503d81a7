"""An audit as a page, and as one PNG."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.inspection.sheet import SheetRow, SheetTile, draw_sheet
from diptych.library.rendering import png

from . import html_page
from .audit import HEADS, Audit, Shown

_EACH = 6  # pairs shown of those that survived least, and of those that survived best
_IN_SHEET = 3


def audit_html(audit: Audit) -> str:
    """The table, and for each attribute the pairs that failed worst and those that went best."""
    rows = [one.cells for one in audit.attributes]
    notes = [f"the two texts are {one.texts_apart:.2f} alike (cosine)" for one in audit.attributes]
    rule = (
        "Of two texts that differ in one attribute both are drawn. It survived in an image that the model finds "
        "nearer to its own text than to the changed one; chance is 50 %, a tie is a miss. Real images answer the "
        "same question where the pairs come from a data set: the most to expect of this judge."
    )
    sections = [("What survives", html_page.paragraph(rule, "quiet") + html_page.table(HEADS, rows, notes))]
    for one in audit.attributes:
        ordered = _ordered(audit, one.name)
        worst = ordered[:_EACH]
        best = ordered[::-1][: min(_EACH, len(ordered) - len(worst))]
        body = html_page.paragraph("Failed worst first.", "quiet") + html_page.pairs(map(_pair, worst))
        if best:
            body += html_page.paragraph("And the best.", "quiet") + html_page.pairs(map(_pair, best))
        sections.append((one.name.capitalize(), body))
    lead = f"{audit.generator}, judged by {audit.model}; {audit.noises} images a text, seed {audit.seed}."
    return html_page.page("What of a text survives in its image", lead, sections)


def audit_png(audit: Audit) -> bytes:
    """Some pairs of each attribute, each image framed when its own text is the nearer."""
    sections = []
    for one in audit.attributes:
        ordered = _ordered(audit, one.name)
        few = [*ordered[:_IN_SHEET], *ordered[::-1][: max(0, min(_IN_SHEET, len(ordered) - _IN_SHEET))]]
        title = f"{one.name}: {100 * one.generated.value:.0f} % of {one.pairs} pairs (chance 50 %)"
        sections.append((title, [_sheet_row(each) for each in few]))
    return png(draw_sheet(sections))


def _ordered(audit: Audit, attribute: str) -> Sequence[Shown]:
    """Worst first: by the share that survived, then by how clearly."""
    of_it = [one for one in audit.shown if one.pair.attribute == attribute]
    return sorted(of_it, key=lambda one: (one.survived, sum(one.own) - sum(one.changed)))


def _pair(one: Shown) -> str:
    figures = [
        html_page.image_figure(
            one.images[side],
            f"{text}: own {one.own[side]:.2f}, other {one.changed[side]:.2f}",
            one.own[side] > one.changed[side],
            f"generated from: {text}",
        )
        for side, text in enumerate((one.pair.one, one.pair.other))
    ]
    return html_page.row(figures, f"{100 * one.survived:.0f} % survived")


def _sheet_row(one: Shown) -> SheetRow:
    query = SheetTile(f"{one.pair.one} / {one.pair.other}", f"{100 * one.survived:.0f} % survived")
    tiles = [
        SheetTile(
            one.images[side],
            f"{text}: {one.own[side]:.2f}, {one.changed[side]:.2f}",
            one.own[side] > one.changed[side],
        )
        for side, text in enumerate((one.pair.one, one.pair.other))
    ]
    return SheetRow(query, tuple(tiles))
