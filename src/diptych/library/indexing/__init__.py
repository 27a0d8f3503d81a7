"""From sources to rows: what is found, what is new, what is read and embedded, and the report of a run.

`Library.index`, `index_texts` and `index_videos` are the way in; the door gives their options and report.
"""

from __future__ import annotations

from .options import IndexOptions
from .report import UNDONE, IndexReport, Kept

__all__ = ["UNDONE", "IndexOptions", "IndexReport", "Kept"]
