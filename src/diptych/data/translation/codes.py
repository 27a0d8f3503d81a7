"""The three-letter codes (ISO 639-3) of languages that Diptych calls by two (ISO 639-1)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

THREE_LETTERS: Mapping[str, str] = MappingProxyType(
    {
        "af": "afr", "ar": "ara", "be": "bel", "bg": "bul", "bn": "ben", "br": "bre", "ca": "cat", "cs": "ces",
        "cy": "cym", "da": "dan", "de": "deu", "el": "ell", "en": "eng", "eo": "epo", "es": "spa", "et": "est",
        "eu": "eus", "fa": "pes", "fi": "fin", "fr": "fra", "ga": "gle", "gl": "glg", "he": "heb", "hi": "hin",
        "hr": "hrv", "hu": "hun", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "kk": "kaz", "ko": "kor",
        "lt": "lit", "lv": "lvs", "mk": "mkd", "ms": "msa", "mt": "mlt", "nb": "nob", "nl": "nld", "nn": "nno",
        "oc": "oci", "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sc": "srd", "sk": "slk", "sl": "slv",
        "sr": "srp", "sv": "swe", "sw": "swh", "ta": "tam", "th": "tha", "tr": "tur", "tt": "tat", "uk": "ukr",
        "ur": "urd", "vi": "vie", "zh": "zho",
    }
)  # fmt: skip
TWO_LETTERS: Mapping[str, str] = MappingProxyType({three: two for two, three in THREE_LETTERS.items()})


def two_letters(code: str) -> str:
    """The two letters for three ("spa" -> "es"); what is not in the table stays as it is, in lower case."""
    return TWO_LETTERS.get(code.lower(), code.lower())
