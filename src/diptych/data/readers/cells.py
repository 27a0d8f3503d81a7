"""What a cell of a table holds: a text, several, or a number; and lists that were written into cells as text."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import operator
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LIST = 1 << 20  # characters; a longer cell is one text, whatever it looks like
_RECORD_KEYS = ("raw", "text", "caption")
_NUMBER = re.compile(r"[+-]?[\d.,_\s]*\d[\d.,_\s]*([eE][+-]?\d+)?\s*%?")
_LONGEST_NUMBER = 64  # characters
_SWITCH = frozenset(["true", "false"])
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"', "/": "/", "\n": ""}
_OPEN, _CLOSE = {"[": "]", "(": ")", "{": "}"}, frozenset("])}")
_START = re.compile(r"""(?:array|list|tuple|set|frozenset)?[\[({]\s*(?:[\[({'"]|[uUrRbB]{1,2}['"]|np\.str_|\]|None)""")
# As str() writes lists, tuples, sets and NumPy arrays of strings; JSON lists are read by `json`.
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<open> (?:array|list|tuple|set|frozenset)? [\[({] (?=\s*[\[({'"])? )
    | (?P<close> [\])}] )
    | (?P<comma> , )
    | (?P<string> (?:np\.str_\(\s*)? [uUrRbB]{0,2} (?P<quoted> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" ) )
    | (?P<nothing> (?:None|nan|null|NaN|NA|<NA>)(?=[\s,\])}]) | dtype=(?:object|'[^']*'|\w+) )
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What the first cells of a column hold. Empty ones are not counted."""

    cells: int = 0
    numbers: int = 0  # cells without a word: 12, "3.5", true, "2024-01-01"
    words: int = 0  # cells of several words
    images: int = 0  # cells with bytes

    @property
    def all_numbers(self) -> bool:
        """Whether there is no word in any cell."""
        return 0 < self.cells == self.numbers

    @property
    def mostly_words(self) -> bool:
        """Whether at least half of the cells are of several words, as texts are."""
        return 0 < self.cells <= 2 * self.words


NO_FACTS = CellFacts()


def cell_facts(rows: Iterable[Mapping[str, Any]]) -> dict[str, CellFacts]:
    """Column -> what its cells in these rows hold."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        for name, cell in row.items():
            is_image = isinstance(cell.get("bytes") if isinstance(cell, Mapping) else cell, bytes)
            counts[name] = list(map(operator.add, counts.get(name, (0, 0, 0, 0)), (*_kind(cell), is_image)))
    return {name: CellFacts(*count) for name, count in counts.items()}


def _kind(cell: Any) -> tuple[bool, bool, bool]:
    """(filled, without a word, of several words)."""
    is_list = isinstance(cell, list) and bool(cell)
    if isinstance(cell, bool) or (is_list and all(isinstance(item, bool | int | float) for item in cell)):
        return True, True, False
    values = [value.strip() for value in strings(cell) if value.strip()]
    if not values:
        return False, False, False
    return True, all(_is_number(value) for value in values), any(_has_words(value) for value in values)


def _is_number(value: str) -> bool:
    if len(value) <= _LONGEST_NUMBER and (_NUMBER.fullmatch(value) or value.lower() in _SWITCH):
        return True
    return any(character.isdigit() for character in value) and not any(character.isalpha() for character in value)


def _has_words(value: str) -> bool:
    if "://" in value[:20]:
        return False
    if len(_UNSPACED.findall(value[:200])) >= 6:
        return True
    return sum(any(character.isalpha() for character in word) for word in value[:1000].split()) >= 3


def strings(value: Any) -> list[str]:
    """The strings in one cell: itself, a list of them, or records with the text under a usual key."""
    if isinstance(value, str):
        listed = listed_strings(value)
        return [value] if listed is None else listed
    if isinstance(value, list | tuple):
        return [text for item in value for text in strings(item)]
    if isinstance(value, Mapping):
        return next((found for key in _RECORD_KEYS if (found := strings(value.get(key)))), [])
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return [str(value)]
    return []


def no_strings(value: Any) -> Iterator[str]:
    """What `strings` finds no text in though something is there, described: other objects, bytes, dates."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from no_strings(item)
    elif isinstance(value, Mapping):
        if any(item is not None for item in value.values()) and not any(key in value for key in _RECORD_KEYS):
            yield f"an object of {', '.join(map(str, value))} (expected {', '.join(_RECORD_KEYS)})"
        yield from (part for key in _RECORD_KEYS for part in no_strings(value.get(key)))
    elif value is not None and not isinstance(value, str | int | float):
        yield f"{type(value).__name__} {str(value)[:40]!r}"


def listed_strings(cell: str) -> list[str] | None:
    """The strings of a list that was written into a cell, or None for a cell that is a text itself.

    Read are lists of strings as JSON, pandas, NumPy and PostgreSQL write them: `["a", "b"]`, `['a', "b's"]`,
    `('a', 'b')`, `['a' 'b']`, nested ones too; missing items are left out. Nothing is ever executed.
    """
    cell = cell.strip()
    if not cell or len(cell) > MAX_LIST or cell[-1] not in _CLOSE or _START.match(cell) is None:
        return None
    if cell[0] == "[":
        with contextlib.suppress(ValueError, RecursionError):
            return _strings_only(json.loads(cell))
    found = _scanned(cell)
    if found is None and cell.startswith("[{") and cell.endswith("}]"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as "\d", on stderr
            try:
                return _strings_only(ast.literal_eval(cell))
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                return None
    return found


def _strings_only(items: Any) -> list[str] | None:
    """The strings of a parsed list; None when it holds anything that is no text."""
    found: list[str] = []
    for item in items:
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, list | tuple):
            inner = _strings_only(item)
            if inner is None:
                return None
            found += inner
        elif isinstance(item, Mapping):
            texts = strings(item)
            if not texts:
                return None
            found += texts
        elif item is not None and not (isinstance(item, float) and math.isnan(item)):
            return None
    return found


def _scanned(cell: str) -> list[str] | None:
    """The string literals of a written list, in order; None when anything else stands in it."""
    found: list[str] = []
    closing: list[str] = []
    commas = at = 0
    while at < len(cell):
        token = _TOKEN.match(cell, at)
        if token is None or (not closing and at > 0):
            return None
        at = token.end()
        if token["open"]:
            closing.append(_OPEN[token["open"][-1]])
        elif token["close"]:
            if token["close"] != closing.pop():
                return None
        elif token["comma"]:
            commas += 1
        elif token["string"]:
            found.append(_literal(token["quoted"]))
            if token["string"].startswith("np.str_"):
                at = cell.find(")", at) + 1
                if not at:
                    return None
        elif not closing:
            return None
    if closing or (cell[0] in "({" and not commas):  # ("a") is a remark in brackets, not a list
        return None
    return found


def _literal(quoted: str) -> str:
    """What a quoted string says, as Python reads it; an unknown escape is kept as it is written."""
    return _ESCAPE.sub(_escaped, quoted[1:-1])


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number <= sys.maxunicode else match[0]
    return _PLAIN_ESCAPES.get(code, match[0])
