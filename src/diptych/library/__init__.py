"""A searchable collection of pictures on disk."""

from __future__ import annotations

from .collection import Info, Library
from .encoder import Encoder
from .report import IndexReport

__all__ = ["Encoder", "IndexReport", "Info", "Library"]
