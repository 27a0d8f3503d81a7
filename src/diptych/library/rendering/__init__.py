"""What people see of a library: contact sheets, previews in a terminal, thumbnails of images and of texts."""

from __future__ import annotations

from .sheet import Tile, can_draw, contact_sheet, png, storyboard
from .terminal import preview
from .text_thumbnails import fitted, font_for, wrapped

__all__ = ["Tile", "can_draw", "contact_sheet", "fitted", "font_for", "png", "preview", "storyboard", "wrapped"]
