"""Codes of languages, and which language a text is written in: a guess from its script and its commonest words.

Good enough to say "these captions look German, not English"; no replacement for a trained detector.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

# ISO 639-1 codes that data sets name their columns by.
CODES = frozenset(
    [
        "af", "am", "ar", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "eo", "es",
        "et", "eu", "fa", "fi", "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja",
        "ka", "kk", "km", "kn", "ko", "ky", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my", "nb", "ne",
        "nl", "nn", "no", "pa", "pl", "ps", "pt", "ro", "ru", "si", "sk", "sl", "so", "sq", "sr", "sv", "sw",
        "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "yo", "zh", "zu",
    ]
)  # fmt: skip
# The codes of three letters (ISO 639-3) of languages that have one of two.
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

# The first word of a character's Unicode name -> the language that most texts in that script are in.
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "THAI": "th", "GREEK": "el", "HEBREW": "he",
    "ARABIC": "ar", "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka",
    "ARMENIAN": "hy", "CYRILLIC": "ru",
}  # fmt: skip

# Short words that are common in captions of one language and rare in the others.
_WORDS = {
    "en": "a the and is are with of in on an his her two man woman wearing at to while",
    "de": "der die das und ist ein eine einen einem einer mit auf im zwei mann frau von den trägt",
    "fr": "le la les un une des et est dans avec sur du au deux homme femme en qui",
    "es": "el la los las un una y es en con de del dos hombre mujer que por su",
    "it": "il lo la gli un una è di in con su del della due uomo donna che nel",
    "pt": "o os as um uma é em com de do da dois homem mulher que no na",
    "nl": "de het een en is in op met van twee man vrouw die aan zijn staat",
    "cs": "je se na ve v muž žena dva která který jsou před psem ulici do",
    "pl": "i w na się z jest mężczyzna kobieta dwa który która przez są do",
    "tr": "bir ve adam kadın iki ile bu olan üzerinde giyen köpek da",
    "sv": "en ett och i på är med två man kvinna som av sitter står",
    "da": "en et og i på er med to mand kvinde som af sidder står",
    "id": "dan di yang seorang sebuah dengan pria wanita dua sedang anjing ini",
}
_STOP_WORDS = {lang: frozenset(words.split()) for lang, words in _WORDS.items()}
_LETTERS = re.compile(r"[^\W\d_]+")


def guess_language(text: str) -> str | None:
    """ISO 639-1 code of the likeliest language, or None when the text says too little.

    Scripts decide first (any kana means Japanese); texts in Latin letters go by stop words, and a
    tie or no stop word at all is None. A guess: closely related languages are easily confused.
    """
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    if not scripts:
        return None
    script, count = scripts.most_common(1)[0]
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0 and script in ("HIRAGANA", "KATAKANA", "CJK"):
        return "ja"
    if script == "LATIN":
        return _by_words(text)
    return _SCRIPTS.get(script) if 2 * count > scripts.total() else None


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]


def _by_words(text: str) -> str | None:
    words = _LETTERS.findall(text.lower())
    scores = Counter({lang: sum(word in stop for word in words) for lang, stop in _STOP_WORDS.items()})
    (best, high), (_, second) = scores.most_common(2)
    return best if high > second else None


def two_letters(code: str) -> str:
    """The two letters for three ("spa" -> "es"); what is not in the table stays as it is, in lower case."""
    return TWO_LETTERS.get(code.lower(), code.lower())
