"""Names and keywords of emojis in many languages: Unicode's CLDR, or the `emoji` package where that is missing."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from diptych.core.errors import ConfigError, DataError
from diptych.data.language import CODES
from diptych.data.readers import openmoji

from .packages import NpmPackage
from .settings import ALL, CLDR, DEFAULT_LANGUAGES, canonical

_COVERAGE = 0.9  # of the English names that a language must have to count among `all`
_FILES = re.compile(r"annotations(?:Derived)?/(?P<locale>[a-z]{2,3})/annotations\.json")


@dataclass(frozen=True, slots=True)
class Words:
    """One emoji in one language."""

    name: str
    keywords: tuple[str, ...] = field(default=())


Names = Mapping[str, Mapping[str, Words]]  # language -> canonical hexcode -> words


def emoji_names(packages: Mapping[str, NpmPackage], languages: Iterable[str]) -> Names:
    """Words of every emoji in the wanted languages, English always among them.

    Raises ConfigError for a language that the names do not come in, listing those that they do.
    """
    wanted = tuple(dict.fromkeys(code.strip().lower() for code in languages))
    cldr = [packages[name] for name in CLDR if name in packages]
    known = _cldr_names(cldr) if CLDR[0] in packages else _package_names()
    english = known.get("en", {})
    if not english:
        raise DataError("the names hold no English; expected annotations/en/annotations.json in the CLDR packages")
    full = {code for code, words in known.items() if len(words.keys() & english.keys()) >= _COVERAGE * len(english)}
    if wanted == (ALL,):
        wanted = ("en", *sorted(full - {"en"}))
    missing = [code for code in wanted if code not in known]
    if missing and (CLDR[0] in packages or wanted != DEFAULT_LANGUAGES):
        raise ConfigError(f"no names in {missing[0]!r}; choose from {', '.join(sorted(full))}, or all")
    chosen = ["en", *(code for code in wanted if code in known and code != "en")]
    return {code: known[code] for code in chosen}


def _cldr_names(packages: Iterable[NpmPackage]) -> dict[str, dict[str, Words]]:
    found: dict[str, dict[str, Words]] = {}
    for package in packages:
        for match, data in package.files(_FILES):
            if match["locale"] in CODES:
                found.setdefault(match["locale"], {}).update(_annotations(data, f"{package.path}: {match[0]}"))
    return found


def _annotations(data: bytes, where: str) -> Iterator[tuple[str, Words]]:
    try:
        content: Any = json.loads(data)
        (root,) = content.values()
        table = root["annotations"].items()
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{where} is not CLDR's format: expected an object with 'annotations' in it") from error
    for characters, entry in table:
        spoken = entry.get("tts") or ()
        if spoken:
            yield _code(characters), _words(spoken[0], entry.get("default") or ())


def _package_names() -> dict[str, dict[str, Words]]:
    """From the `emoji` package: 14 languages, and other English names as keywords."""
    found: dict[str, dict[str, Words]] = {}
    for characters, entry in openmoji.emoji_table().items():
        for language in openmoji.LANGUAGES:
            if language in entry:
                others = entry.get("alias", ()) if language == "en" else ()
                words = _words(openmoji.cleaned(entry[language]), map(openmoji.cleaned, others))
                found.setdefault(language, {}).setdefault(_code(characters), words)
    return found


def _words(name: str, keywords: Iterable[str]) -> Words:
    name = " ".join(unicodedata.normalize("NFC", name).split())
    others = dict.fromkeys(" ".join(unicodedata.normalize("NFC", keyword).split()) for keyword in keywords)
    return Words(name, tuple(other for other in others if other and other.casefold() != name.casefold()))


def _code(characters: str) -> str:
    return canonical(openmoji.hexcode_of(characters))
