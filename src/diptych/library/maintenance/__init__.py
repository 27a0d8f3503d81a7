"""Looking after a library: verify, repair, compact, export and import, embedding again by another model.

`Library` has the methods; the door adds what they give back and raise, and `restore` and `check_export` for exports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .problems import HARMLESS, MissingImagesError, Problem, Verdict

if TYPE_CHECKING:
    from .transfer import check_export, restore


def __getattr__(name: str) -> Any:
    """Exports are imported when they are first used: a search needs none."""
    if name in ("check_export", "restore"):
        return getattr(importlib.import_module(f"{__name__}.transfer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["HARMLESS", "MissingImagesError", "Problem", "Verdict", "check_export", "restore"]
