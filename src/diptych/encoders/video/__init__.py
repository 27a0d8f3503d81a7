"""Towers for videos: an image tower shown several frames."""

from __future__ import annotations

from .towers import MeanPooledVideo, TokenSequenceVideo

__all__ = ["MeanPooledVideo", "TokenSequenceVideo"]
