"""The names that a config or a flag can give to a part: those of the registry."""

from __future__ import annotations

from diptych.core.registry import KINDS, entries

from .markup import code, table, told

TITLE = "Parts"
PLACE = "reference/parts.md"


def page() -> str:
    """A table for each kind of part."""
    parts = [
        "# Parts",
        "<p>What a config or a flag can name. <code>diptych models parts</code> lists these and those of plugins.</p>",
    ]
    for kind in KINDS:
        rows = [(code(entry.usage), told(entry.summary)) for entry in entries(kind).values()]
        parts += [f"## {kind}", table(["name", "what it is"], rows)]
    return "\n\n".join(parts) + "\n"
