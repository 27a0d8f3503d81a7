"""Markdown: tables, and text from outside that is safe inside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every column but the first holds numbers, which stand on the right."""
    alignment = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, alignment, *rows))


def cell(text: str) -> str:
    """Text from outside, safe inside a line or a table cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
