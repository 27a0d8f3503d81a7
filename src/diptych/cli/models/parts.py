"""`diptych models parts`."""

from __future__ import annotations

from diptych.cli.shared import Common


def parts(*kinds: str, common: Common = Common()) -> None:
    """List the names that configs and flags take: losses, towers, heads, readers, metrics, ... and those of plugins.

    docs/extending.md says how to add one.

    Examples:
        diptych models parts
        diptych models parts loss image_tower
        diptych models parts --json

    Args:
        kinds: Kinds of parts, such as loss or reader; all when left out.
    """
    from diptych.core.registry import KINDS, entries, unknown

    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of part", kind, KINDS)
    found = {kind: {entry.usage: entry.summary for entry in entries(kind).values()} for kind in kinds or KINDS}
    lines = [
        line
        for kind, named in found.items()
        for line in (f"{kind}:", *(f"  {name:32} {summary}" for name, summary in named.items()))
    ]
    common.show(found, "\n".join(lines))
