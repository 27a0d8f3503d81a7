"""Looking after a library: verify, repair, compact, export and import, embedding again by another model.

`Library` has the methods; the door adds what they give back and raise, and `restore` and `check_export` for exports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

from .problems import HARMLESS, MissingImagesError, Problem, Verdict

if TYPE_CHECKING:
    from .transfer import check_export, restore
    from .tune import Measured, Tuning


__all__ = [
    "HARMLESS", "Measured", "MissingImagesError", "Problem", "Tuning", "Verdict", "check_export", "restore",
]  # fmt: skip
__getattr__, __dir__ = lazy(__name__)  # exports are imported when they are first used: a search needs none
