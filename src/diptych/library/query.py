"""What a search asks for: words, an image, or a sum of both such as `"red" + a.jpg - "snow"`.

A query is a sum only when all of it reads as terms joined by ` + ` or ` - `, with spaces around the
sign, and every term is quoted words or an image. An image is a name, quoted or bare, that ends
like an image (`a.jpg`, `"my photo.png"`), or a bare name of an existing file. A weight may stand
before a term: `0.5*"red"`. Anything else is plain words, signs and quotes included, so
`black - white` and `"a" - b` are simply text. What reads nearly like a sum, or like one image's name,
is text too, and `remark` says so.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.core.checks import of_type, whole
from diptych.core.cosine import normalise
from diptych.core.errors import DataError, LimitError, Reason
from diptych.core.file_names import escape
from diptych.core.notes import Note
from diptych.core.shapes import Float32
from diptych.core.text import is_blank, one_line
from diptych.data.image_inputs import SUFFIXES

from .encoder import Encoder, as_queries

MAX_CHARACTERS = 1000
MAX_HITS = 1000
_MAX_TERMS = 32
_MOST_SHOWN = 60  # characters of a query in a remark
_NEARLY_ZERO = 1e-6

_NUMBER = r"(?:(?P<weight>\d+(?:\.\d+)?|\.\d+)\*)?"
_TERM = re.compile(rf"\s*{_NUMBER}(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s\"']+))")
_SIGN = re.compile(r"\s+([+-])\s+")
_NEARLY_SIGN = re.compile(r"(?:^|\s+)([+-])(?:\s+|(?=[^\W\d]|[\"']))")
_TYPED = str.maketrans("“”„«»‘’−–—＋", '"""""\'\'---+')  # marks as word processors and phones write them
_CLOSE_SIGN = re.compile(r"(?<=[\"'])\s*([+-])\s*(?=[\d.\"'])")
_FIRST_SIGN = re.compile(r"\s*([+-])\s*(?=[\d.\"'])")


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a sum: words or an image, with its weight."""

    weight: float
    text: str | None = None
    image: Path | None = None


def check_text(text: str, *, cut: bool = False) -> str:
    """The text of a query, checked. With `cut`, a text over the limit is cut instead of refused.

    Raises LimitError when it is too long, DataError when nothing of it can be seen or it is not
    valid Unicode.
    """
    of_type(text, str, "words, as a str; for an image its path, as a pathlib.Path")
    if len(text) > MAX_CHARACTERS:
        if not cut:
            raise LimitError(
                f"the query has {len(text):,} characters, the limit is {MAX_CHARACTERS:,}; "
                f"shorten it, or add --cut to use its first {MAX_CHARACTERS:,}"
            )
        text = text[:MAX_CHARACTERS]
    if is_blank(text):
        raise DataError(
            'the query is empty; expected words, such as: diptych search --library DIR "a red car"',
            Reason.EMPTY_TEXT,
        )
    broken = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
    if broken is not None:
        raise DataError(
            f"the query has a lone surrogate (\\u{ord(broken):04x}), which is half a character; "
            f"expected valid Unicode: send it as UTF-8",
            Reason.BAD_ROW,
        )
    return text


def check_k(k: int) -> int:
    """How many hits to give, checked. Raises LimitError outside 1..1,000."""
    if not 1 <= whole("k", k) <= MAX_HITS:
        raise LimitError(f"k is {k}; expected a number of hits from 1 to {MAX_HITS:,}")
    return k


def join(words: Sequence[str]) -> str:
    """One query from the words of a command line, whose shell has taken the quotes away.

    When every second word is a sign (`red + a.jpg - snow`) it is a sum and the texts get quotes again;
    otherwise the words belong together as they stand.
    """
    terms, signs = words[::2], words[1::2]
    if len(words) < 3 or len(terms) == len(signs) or not all(sign in ("+", "-") for sign in signs):
        return " ".join(words)
    return " ".join(word if at % 2 else _quoted(word) for at, word in enumerate(words))


def _quoted(word: str) -> str:
    if _TERM.fullmatch(word) and not re.fullmatch(r"[^\s\"']+", word):
        return word  # has its quotes, perhaps with a weight
    weight, _, rest = word.rpartition("*") if re.match(r"[\d.]+\*", word) else ("", "", word)
    mark = "'" if '"' in rest else '"'
    bare = not re.search(r"[\s\"']", rest) and os.path.isfile(os.path.expanduser(rest))  # noqa: PTH111, PTH113
    return (f"{weight}*" if weight else "") + (rest if bare else f"{mark}{rest}{mark}")


def parse(text: str, folder: Path | None = None) -> tuple[Term, ...]:
    """The terms of a query; one term of weight 1 when it is plain words.

    Relative image names start from `folder` (the working folder by default). Raises DataError when
    an image of a sum is missing, LimitError when there are too many terms.
    """
    terms = _parse_sum(text, folder or Path())
    if terms is None:
        return (Term(1.0, text=text),)
    if len(terms) > _MAX_TERMS:
        raise LimitError(f"the query has {len(terms)} terms, the limit is {_MAX_TERMS}; leave some out")
    for term in terms:
        if term.image is not None and not os.path.isfile(term.image):  # noqa: PTH113
            raise DataError(
                f"the query names the image {escape(str(term.image))}, but there is no such file; check the name, "
                f"or leave the image ending out if you mean words",
                Reason.MISSING,
            )
        if term.text is not None:
            check_text(term.text)
    return tuple(terms)


class QueryWarning(UserWarning):
    """A query that is taken for plain words, although it reads like something else."""


class UnseenWarning(QueryWarning):
    """Candidates that could not be re-ranked."""


class CutWarning(QueryWarning):
    """Words of a query that are longer than the library's model reads."""


class HiddenWarning(QueryWarning):
    """Hits that were hidden, so many, because they hardly belong to the query."""

    def __init__(self, said: str, count: int) -> None:
        super().__init__(said)
        self.count = count


class UnknownWarning(QueryWarning):
    """Words of a query that a re-ranker does not know, or reads no more of."""


def cut_note(texts: Sequence[str], encoder: Encoder, what: str) -> tuple[Note, ...]:
    """A note on texts that are longer than the model reads, where it can tell; `what` they are, in words."""
    noted = getattr(encoder, "cut_texts", None)
    return () if noted is None else tuple(noted(texts, what))


def unread(texts: Sequence[str], encoder: Encoder) -> str | None:
    """What to know about the words of a query of which the model reads only the beginning; else None."""
    notes = cut_note(texts, encoder, "words of the query are")
    return f"{notes[0].detail}: the model reads no more of them" if notes else None


def remark(text: str, folder: Path | None = None) -> str | None:
    """What to know about a query that is taken for plain words and may be meant as a sum or an image; else None."""
    folder = folder or Path()
    if _parse_sum(text, folder) is not None:
        return None
    name = text.strip()
    path = folder / os.path.expanduser(name)  # noqa: PTH111 - never raises
    shown = one_line(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}...")
    if os.path.isfile(path):  # noqa: PTH113
        return (
            f"{shown!r} is the name of a file, but is taken for words; for images like it: "
            f"--image {one_line(shlex.quote(name))}, or Path({shown!r}) in Python"
        )
    if path.suffix.lower() in SUFFIXES:
        return f"{shown!r} is taken for words, although it ends like an image's name; no file has that name"
    plain = re.sub(r"(?<=\d)\s*\*\s*(?=[\"'])", "*", _CLOSE_SIGN.sub(r" \1 ", name.translate(_TYPED)))
    if _parse_sum(plain, folder) is not None:
        meant = plain
    elif _NEARLY_SIGN.search(name):
        meant = _as_sum(plain)
    else:
        return None
    example = meant if len(meant) <= _MOST_SHOWN and _parse_sum(meant, folder) is not None else '"red car" - "snow"'
    return (
        f"{shown!r} is taken for plain words; in a sum each part has quotes and each sign a space on both sides, "
        f"as in {shlex.quote(one_line(example))}"
    )


def _as_sum(text: str) -> str:
    """Words with signs as they were probably meant: each part in quotes."""
    first, *rest = _NEARLY_SIGN.split(text)
    parts = [first, *(" " + one + " " if at % 2 == 0 else one for at, one in enumerate(rest))]
    return "".join(
        part if at % 2 or not part.strip() else _quoted(_closed(part.strip())) for at, part in enumerate(parts)
    ).strip()


def _closed(part: str) -> str:
    """A part without a quotation mark that has no partner."""
    return part if _TERM.fullmatch(part) else part.strip("\"'")


def vector(terms: Sequence[Term], encoder: Encoder) -> Float32[np.ndarray, d]:
    """The weighted sum of the terms' unit vectors, as a unit vector.

    Raises DataError when the terms cancel each other out.
    """
    texts = [term for term in terms if term.text is not None]
    images = [term for term in terms if term.image is not None]
    total = np.zeros(encoder.dim, dtype=np.float64)
    if texts:
        vectors = normalise(as_queries(encoder)([term.text or "" for term in texts]))
        total += np.array([term.weight for term in texts]) @ vectors
    if images:
        vectors = normalise(encoder.encode_images([term.image for term in images]))
        total += np.array([term.weight for term in images]) @ vectors
    if not np.linalg.norm(total) > _NEARLY_ZERO:
        raise DataError("the terms of the query cancel each other out; expected something to be left: change a weight")
    return normalise(total)


def _parse_sum(text: str, folder: Path) -> list[Term] | None:
    """The terms, or None unless the whole text is a sum of at least two."""
    terms: list[Term] = []
    sign, at = 1.0, 0
    if first := _FIRST_SIGN.match(text):
        sign, at = _sign(first[1]), first.end()
    while match := _TERM.match(text, at):
        term = _term(match, sign, folder)
        if term is None:
            return None
        terms.append(term)
        at = match.end()
        if not text[at:].strip():
            return terms if len(terms) > 1 else None
        joint = _SIGN.match(text, at)
        if joint is None:
            return None
        sign, at = _sign(joint[1]), joint.end()
    return None


def _sign(character: str) -> float:
    return 1.0 if character == "+" else -1.0


def _term(match: re.Match[str], sign: float, folder: Path) -> Term | None:
    weight = sign * float(match["weight"] or 1)
    quoted = match["double"] if match["double"] is not None else match["single"]
    name = match["bare"] if quoted is None else quoted
    path = folder / os.path.expanduser(name)  # noqa: PTH111 - never raises
    if path.suffix.lower() in SUFFIXES or (quoted is None and os.path.isfile(path)):  # noqa: PTH113
        return Term(weight, image=path)
    return None if quoted is None else Term(weight, text=quoted)
