"""`diptych models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .shared import Common


def models(*folders: Path, common: Common = Common()) -> None:
    """List the models at hand: those that ship with Diptych, and any folders given.

    For example:

        diptych models

        diptych models runs/*/model --json

    Parameters
    ----------
    folders
        Model folders to describe as well.
    """
    from diptych.models import SHIPPED, load

    rows: list[dict[str, Any]] = []
    named: list[str | Path] = [*SHIPPED, *folders]
    for name in named:
        model = load(name)
        scores = model.config.training.get("validation", {})
        rows.append(
            {
                "name": model.name,
                "load": str(name),
                "dim": model.dim,
                "fingerprint": model.fingerprint,
                "image_tower": model.config.image.source or model.config.image.tower,
                "text_tower": model.config.text.tower,
                "licence": model.config.licence,
                "validation": dict(scores),
                "summary": SHIPPED.get(str(name), ""),
            }
        )
    lines = [
        f"{row['load']:24} {row['dim']:>5}-d  {row['image_tower']} + {row['text_tower']}  "
        f"rsum {row['validation'].get('score', float('nan')):.1f}  {row['summary']}"
        for row in rows
    ]
    common.show(rows, "\n".join(lines))
