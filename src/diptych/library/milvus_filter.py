"""The SQL of `where` as a Milvus expression: the part of it that both have, and a clear answer to the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from diptych.core.errors import ConfigError

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>`[^`]+`|\"[^\"]+\")|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign><>|!=|<=|>=|==|[=<>(),+*/%-]))"
)
_KEYWORDS = {"and", "or", "not", "in", "like", "is", "null", "true", "false", "between"}
_SIGNS = {"=": "==", "<>": "!="}
_TYPES = {"timestamp", "date"}  # before a text: the text itself says it, since times are kept as texts


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, column, number, word, sign, end
    value: str


class _Parser:
    """A term at a time; conditions come out with the same brackets as they went in."""

    def __init__(self, where: str, fixed: Collection[str], extra: Collection[str]) -> None:
        self._where = where
        self._fixed, self._extra = fixed, extra
        self._tokens = list(_tokens(where))
        self._at = 0

    def expression(self) -> str:
        """The whole, translated. Raises ConfigError."""
        found = self._any()
        if self._next.kind != "end":
            raise self._error(f"it goes on with {self._next.value!r}")
        return found

    def _any(self) -> str:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return " or ".join(parts)

    def _all(self) -> str:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return " and ".join(parts)

    def _one(self) -> str:
        if self._takes("not"):
            return f"not ({self._one()})"
        if self._next == _Token("sign", "("):
            start = self._at
            self._at += 1
            inside = self._any()
            if self._takes(")") and self._next.value in ("and", "or", ")", ""):
                return f"({inside})"
            self._at = start
            raise self._error("a bracket holds something else than conditions")
        return self._condition()

    def _condition(self) -> str:
        column = self._next
        left = self._value()
        if self._takes("is"):
            is_not = self._takes("not")
            self._expect("null")
            return self._null(column, is_not=is_not)
        negated = self._takes("not")
        if self._takes("like"):
            found = f"{left} like {self._value()}"
        elif self._takes("in"):
            found = f"{left} in {self._list()}"
        elif self._takes("between"):
            low = self._value()
            self._expect("and")
            found = f"({left} >= {low} and {left} <= {self._value()})"
        elif self._next.value in ("=", "==", "<>", "!=", "<", "<=", ">", ">="):
            sign = self._taken().value
            found = f"{left} {_SIGNS.get(sign, sign)} {self._value()}"
        elif column.value in self._extra and not negated:
            found = f"{left} == true"
        else:
            raise self._error(f"a comparison is missing before {self._next.value!r}")
        return f"not ({found})" if negated else found

    def _null(self, column: _Token, *, is_not: bool) -> str:
        if column.value in self._extra:
            return f"exists {column.value}" if is_not else f"not (exists {column.value})"
        return 'id != ""' if is_not else 'id == ""'  # every picture has the others

    def _list(self) -> str:
        self._expect("(")
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        self._expect(")")
        return f"[{', '.join(values)}]"

    def _value(self) -> str:
        token = self._taken()
        if token.kind == "word" and token.value in _TYPES and self._next.kind == "text":
            token = self._taken()
        if token == _Token("sign", "-") and self._next.kind == "number":
            return f"-{self._taken().value}"
        if token.kind in ("number", "text"):
            return token.value
        if token.kind == "column":
            if token.value not in self._fixed and token.value not in self._extra:
                raise self._error(f"no field named {token.value}")
            return token.value
        if token.value in ("true", "false"):
            return token.value
        raise self._error(f"a value is missing before {token.value!r}")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _taken(self) -> _Token:
        token = self._next
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _takes(self, value: str) -> bool:
        if self._next.kind in ("word", "sign") and self._next.value == value:
            self._at += 1
            return True
        return False

    def _expect(self, value: str) -> None:
        if not self._takes(value):
            raise self._error(f"found {self._next.value!r}, expected {value!r}")

    def _error(self, what: str) -> ConfigError:
        choices = ", ".join([*self._fixed, *self._extra])
        return ConfigError(
            f"cannot use --where {self._where[:100]!r} on a Milvus server: {what}; columns: {choices}; "
            f"for example: --where \"width > 800 AND folder LIKE '/photos/%'\""
        )


def translate(where: str, fixed: Collection[str], extra: Collection[str]) -> str:
    """A Milvus expression. `fixed` columns every picture has, `extra` ones only some.

    Raises ConfigError for what is no such condition: functions, arithmetic and ILIKE among them.
    """
    return _Parser(where, fixed, extra).expression()


def _tokens(where: str) -> Iterator[_Token]:
    at = 0
    while where[at:].strip():
        match = _TOKEN.match(where, at)
        if match is None:
            raise ConfigError(
                f"cannot use --where {where[:100]!r} on a Milvus server: {where[at:].strip()[:20]!r} cannot be read; "
                f"expected comparisons joined by AND, OR and NOT, such as: width > 800"
            )
        at = match.end()
        yield _token(match)
    yield _Token("end", "")


def _token(match: re.Match[str]) -> _Token:
    if match["text"] is not None:
        return _Token("text", json.dumps(match["text"][1:-1].replace("''", "'"), ensure_ascii=False))
    if match["quoted"] is not None:
        return _Token("column", match["quoted"][1:-1])
    if match["number"] is not None:
        return _Token("number", match["number"])
    if match["word"] is not None:
        word = match["word"]
        is_word = word.lower() in _KEYWORDS or word.lower() in _TYPES
        return _Token("word", word.lower()) if is_word else _Token("column", word)
    return _Token("sign", match["sign"])
