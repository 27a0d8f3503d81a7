"""What is done to a text before its tokenizer, and to the ids after it, as pretrained models' own libraries do it."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.extras import need
from diptych.encoders.inputs import clean, without_surrogates
from diptych.encoders.text.charsmap import SiglipNormaliser

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def repaired(text: str) -> str:
    """Wrongly decoded letters repaired, HTML entities read twice, no space at the ends: open_clip's `basic_clean`."""
    fixed: str = need("ftfy", "the tokenizer of this model").fix_text(text)
    return html.unescape(html.unescape(fixed)).strip()


def joined(text: str) -> str:
    """One space for any run of whitespace, none at the ends: open_clip's `whitespace_clean`."""
    return " ".join(text.split())


def canonical(text: str) -> str:
    """Lower case without ASCII punctuation, where "_" is a space: open_clip's `canonicalize_text`."""
    return joined(text.replace("_", " ").translate(_NO_PUNCTUATION).lower())


def spaced(text: str) -> str:
    """One space for any run of whitespace and of "▁", which is SentencePiece's sign for one: SigLIP's tokenizer."""
    return re.sub(r"\s+", " ", text.replace("▁", " "))


STEPS: Mapping[str, Callable[[str], str]] = {
    "clean": clean,
    "repaired": repaired,
    "joined": joined,
    "lower": str.lower,
    "canonical": canonical,
    "spaced": spaced,
}


@dataclass(frozen=True)
class TextRules:
    """What surrounds a tokenizer.

    Args:
        cleaning: names of `STEPS`, the first first. Lone surrogates have become U+FFFD before.
        prefix: what goes before every text after that.
        full_length: the model reads the padding too, so rows are filled with `pad` to their end and hold no -1.
        pad: the id that the model is given where a row says -1.
        pad_left: the padding is before the text.
        replaced: pairs of an id and what it becomes.
        closing_once: a text that already ends with the closing token gets no second one.
        last: the id in the last place of every row, after the padding; -1 is none.
        charsmap, special: of `SiglipNormaliser`, through which a text goes at last; none without `special`.
    """

    cleaning: tuple[str, ...] = ("clean",)
    prefix: str = ""
    full_length: bool = False
    pad: int = 0
    pad_left: bool = False
    replaced: tuple[tuple[int, int], ...] = ()
    closing_once: bool = False
    last: int = -1
    charsmap: str = ""
    special: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if missing := [step for step in self.cleaning if step not in STEPS]:
            raise ModelError(f"the tokenizer asks for the cleaning {missing[0]!r}, which this version does not know")

    def prepare(self, text: str) -> str:
        """A text as its tokenizer gets it."""
        text = self.prefix + reduce(lambda found, step: STEPS[step](found), self.cleaning, without_surrogates(text))
        return self._normalise(text) if self.special else text

    def stated(self) -> dict[str, Any]:
        """The fields that differ from their default, ready for JSON; what is hashed and written."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}

    @cached_property
    def _normalise(self) -> SiglipNormaliser:
        return SiglipNormaliser(self.charsmap, self.special)


def read_rules(found: Mapping[str, Any]) -> TextRules:
    """The rules of which `TextRules.stated` told, read from JSON. Raises TypeError for unknown ones."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    if "replaced" in values:
        values["replaced"] = tuple((int(one), int(other)) for one, other in values["replaced"])
    return TextRules(**values)
