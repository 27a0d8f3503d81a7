"""The doctor: `check` reads a whole source once and gives a `SourceReport` on what is wrong with it."""

from __future__ import annotations

from .check import NEAR, check
from .report import Duplicates, SourceProblem, SourceReport

__all__ = ["NEAR", "Duplicates", "SourceProblem", "SourceReport", "check"]
