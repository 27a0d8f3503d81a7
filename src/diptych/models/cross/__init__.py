"""The slow, exact matcher: a captioner with cross-attention that says how likely a text is, given a picture."""

from __future__ import annotations

from .blip import BlipMatcher
from .encoder import CrossEncoder, load_cross, load_matcher
from .settings import DIRECTIONS, IMAGE_TO_TEXT, TEXT_TO_IMAGE

__all__ = ["DIRECTIONS", "IMAGE_TO_TEXT", "TEXT_TO_IMAGE", "BlipMatcher", "CrossEncoder", "load_cross", "load_matcher"]
