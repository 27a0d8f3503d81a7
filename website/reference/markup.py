"""Tables and sentences as HTML, in which no sign of a text is taken for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def told(text: str) -> str:
    """A sentence; what stands in backticks is code."""
    parts = escape(" ".join(text.split()), quote=False).split("`")
    if len(parts) % 2 == 0:  # one backtick alone is a sign like any other
        return "`".join(parts).replace("`", "&#96;")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def code(text: str) -> str:
    """A name or a value as it is typed."""
    return f"<code>{escape(text, quote=False)}</code>" if text else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells in HTML."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
