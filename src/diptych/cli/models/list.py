"""`diptych models list`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.cli.shared import Common


def list_models(*folders: Path, common: Common = Common()) -> None:
    """List the models at hand: those that ship with Diptych, and any folders given.

    Examples:
        diptych models list
        diptych models list runs/*/model --json

    Args:
        folders: Model folders to describe as well.
    """
    from diptych.models import SHIPPED, load

    named: list[str | Path] = [*SHIPPED, *folders]
    rows: list[dict[str, Any]] = []
    for name in named:
        model = load(name)
        rows.append(
            {
                "name": model.name,
                "load": str(name),
                "dim": model.dim,
                "fingerprint": model.fingerprint,
                "image_tower": model.config.image.source or model.config.image.tower,
                "text_tower": model.config.text.tower,
                "licence": model.config.licence,
                "validation": dict(model.config.training.get("validation", {})),
                "summary": SHIPPED.get(str(name), ""),
            }
        )
    lines = [
        f"{row['load']:24} {row['dim']:>5}-d  {row['image_tower']} + {row['text_tower']}  "
        f"rsum {row['validation'].get('score', float('nan')):.1f}  {row['summary']}"
        for row in rows
    ]
    common.show(rows, "\n".join(lines))
