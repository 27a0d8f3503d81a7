"""Copies of one image in a library: the same file again, or encoded anew, resized, cropped, mirrored or turned.

`candidates.py` finds pairs that may be copies, without comparing all with all; `finder.py` compares the pixels of each
such pair, and groups what agrees; `report.py` chooses the best of each group and says why. Nothing is changed.
"""

from __future__ import annotations

from .report import Copy, Duplicates, Group

__all__ = ["Copy", "Duplicates", "Group"]
