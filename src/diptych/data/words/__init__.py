"""Words inside images: `WordReader` recognises them, in a process of its own (`worker.py`) with a time limit."""

from .reader import WordReader

__all__ = ["WordReader"]
