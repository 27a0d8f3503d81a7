"""An emoji data set in one folder: drawings by several vendors, names and keywords in many languages.

settings = EmojiSettings(packages=(Path("node_modules"),))
made = make_emoji(Path("emoji"), settings)  # then: open_source("emoji")
"""

from __future__ import annotations

from .make import Made, make_emoji
from .settings import CLASSES, DEFAULT_LANGUAGES, VENDORS, EmojiSettings, Vendor

__all__ = ["CLASSES", "DEFAULT_LANGUAGES", "VENDORS", "EmojiSettings", "Made", "Vendor", "make_emoji"]
