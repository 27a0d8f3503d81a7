"""The doctor: `check` reads a whole source once and gives a `Report` on what is wrong with it."""

from __future__ import annotations

from .check import NEAR, check
from .report import Duplicates, Problem, Report

__all__ = ["NEAR", "Duplicates", "Problem", "Report", "check"]
