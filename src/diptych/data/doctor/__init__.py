"""The doctor: reads a whole source once and says, in words and numbers, what is wrong with it."""

from __future__ import annotations

from .check import NEAR, check
from .report import Duplicates, Problem, Report

__all__ = ["NEAR", "Duplicates", "Problem", "Report", "check"]
