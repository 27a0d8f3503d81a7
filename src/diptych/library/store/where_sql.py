"""The SQL of `where`, read by sqlglot into the tree of `where`.

Only the words and signs listed here reach the parser: columns, values, comparisons, AND, OR, NOT, IN, BETWEEN, LIKE,
IS NULL and brackets. No function, sub-query or arithmetic can be written, and every word of SQL that is none of these
may name a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser
from sqlglot.tokens import Token, Tokenizer, TokenType

from diptych.core.errors import LimitError

from .where import AllOf, AnyOf, Column, FilterError, Where, condition, negated

MOST_CHARACTERS = 1_000
MOST_DEPTH = 20  # brackets and NOTs within each other
_COMPARISONS = {exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_MIRRORED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_WORDS = {
    TokenType.AND, TokenType.OR, TokenType.NOT, TokenType.IN, TokenType.BETWEEN, TokenType.LIKE, TokenType.ESCAPE,
    TokenType.IS, TokenType.NULL, TokenType.TRUE, TokenType.FALSE,
}  # fmt: skip
_SIGNS = {
    TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE, TokenType.L_PAREN,
    TokenType.R_PAREN, TokenType.COMMA, TokenType.DASH, TokenType.NUMBER, TokenType.STRING,
}  # fmt: skip
# The nodes of a parsed filter and what each may hold: anything else, such as a modifier of a later sqlglot, is refused.
_UNARY, _BINARY = {"this"}, {"this", "expression"}
_NODES = {
    **dict.fromkeys((exp.And, exp.Or, exp.Is, exp.Escape, *_COMPARISONS), _BINARY),
    **dict.fromkeys((exp.Not, exp.Paren, exp.Neg, exp.Column, exp.Boolean), _UNARY),
    exp.Like: _BINARY | {"negate"},
    exp.In: {"this", "expressions"},
    exp.Between: {"this", "low", "high"},
    exp.Literal: {"this", "is_string"},
    exp.Identifier: {"this", "quoted"},
    exp.Null: set(),
}
_TIMES = ("date", "timestamp")  # may stand before a date, which says by itself what it is
_MARK = "column "  # before each name while sqlglot has it
_TAKEN = "expected comparisons (= != < <= > >=, IN, BETWEEN, LIKE, IS NULL) joined by AND, OR and NOT"


class _Tokenizer(Tokenizer):  # type: ignore[misc]
    IDENTIFIERS: ClassVar[list[str]] = ['"', "`"]
    COMMANDS: ClassVar[set[TokenType]] = set()  # `show = 'x'` is a comparison


def parse(text: str, columns: Mapping[str, str]) -> Where:
    """The tree of a filter over these columns, name -> kind. Raises FilterError or LimitError."""
    if len(text) > MOST_CHARACTERS:
        raise LimitError(
            f"cannot use --where: it has {len(text):,} characters, the limit is {MOST_CHARACTERS:,}; shorten it"
        )
    try:
        found = _parsed(text)
        _check(found)
        return _tree(found, columns)
    except FilterError as error:
        raise FilterError(
            error.reason, [f"{name} ({kind})" for name, kind in columns.items()], text
        ) from error.__cause__


def _parsed(text: str) -> Any:
    try:
        text.encode()
        tokens = _checked(_Tokenizer().tokenize(text))
        found = Parser().parse_into(exp.Condition, tokens, text)
    except UnicodeEncodeError as error:
        raise FilterError("it has half a character (a lone surrogate); write it in UTF-8") from error
    except (ParseError, TokenError) as error:
        raise FilterError(_reason(error, text)) from error
    if len(found) != 1 or found[0] is None:
        raise FilterError(f"it has no comparison; {_TAKEN}")
    return found[0]


def _reason(error: ParseError | TokenError, text: str) -> str:
    at = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    near = str(at.get("highlight") or "")
    rest = f"cannot read it at {near[:40]!r}" if near and near != text else "it ends too early or a quote is open"
    return f"{rest}; {_TAKEN}"


def _checked(tokens: Sequence[Token]) -> list[Token]:
    """The tokens, other words of SQL made into names. Raises FilterError for what is not taken."""
    found: list[Token] = []
    depth = 0
    for place, token in enumerate(tokens):
        following = tokens[place + 1].token_type if place + 1 < len(tokens) else None
        if token.comments:
            raise FilterError("comments are not taken")
        if token.token_type == TokenType.IDENTIFIER:
            found.append(_name(token))
        elif token.token_type in _WORDS or token.token_type in _SIGNS:
            found.append(token)
        elif token.text.lower() in _TIMES and following == TokenType.STRING:
            continue
        elif token.text.isidentifier():
            if following == TokenType.L_PAREN:
                raise FilterError(f"functions are not taken, found {token.text[:40]}(; {_TAKEN}")
            found.append(_name(token))
        elif token.token_type == TokenType.SEMICOLON:
            raise FilterError("one expression is taken, without ';'")
        else:
            raise FilterError(f"found {token.text[:40]!r}; {_TAKEN}")
        depth += {TokenType.L_PAREN: 1, TokenType.NOT: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth > MOST_DEPTH:
            raise FilterError(f"more than {MOST_DEPTH} brackets and NOTs; write it with fewer")
    return found


def _name(token: Token) -> Token:
    """A name that is no word of SQL to the parser."""
    return Token(TokenType.IDENTIFIER, _MARK + token.text, token.line, token.col, token.start, token.end)


def _check(found: Any) -> None:
    """Raise FilterError for a node, or a part of one, that is not listed."""
    for node in found.walk():
        if not {name for name, part in node.args.items() if part} <= _NODES.get(type(node), set()):
            raise FilterError(f"{_shown(node)[:60]!r} is not taken; {_TAKEN}")


def _tree(found: Any, columns: Mapping[str, str]) -> Where:
    """A parsed expression. Raises FilterError for anything that is no condition."""
    match found:
        case exp.Paren():
            return _tree(found.this, columns)
        case exp.Not():
            return negated(_tree(found.this, columns))
        case exp.And() | exp.Or():
            parts = tuple(_tree(part, columns) for part in found.flatten(unnest=False))
            return AllOf(parts) if isinstance(found, exp.And) else AnyOf(parts)
        case exp.Is() if isinstance(found.expression, exp.Null):
            return condition(_column(found.this), "null", None, columns)
        case exp.Between():
            name = _column(found.this)
            bounds = ((">=", found.args["low"]), ("<=", found.args["high"]))
            return AllOf(tuple(condition(name, op, _operand(bound), columns) for op, bound in bounds))
        case exp.In():
            return condition(_column(found.this), "in", [_literal(one) for one in found.expressions], columns)
        case exp.Like():
            return _like(found, "\\", columns)
        case exp.Escape():
            return _like(found.this, _literal(found.expression), columns)
        case exp.Column():
            return _flag(_column(found), columns)
    if type(found) in _COMPARISONS:
        return _comparison(found, _COMPARISONS[type(found)], columns)
    raise FilterError(f"{_shown(found)[:60]!r} is no comparison of a column; {_TAKEN}")


def _like(found: Any, escape: Any, columns: Mapping[str, str]) -> Where:
    if isinstance(found, exp.Not):  # NOT LIKE, as sqlglot read it before 28
        return negated(_like(found.this, escape, columns))
    pattern = _pattern(found.expression, escape)
    return condition(_column(found.this), "not like" if found.args.get("negate") else "like", pattern, columns)


def _comparison(found: Any, op: str, columns: Mapping[str, str]) -> Where:
    left, right = found.this, found.args["expression"]
    if not isinstance(left, exp.Column) and isinstance(right, exp.Column):
        left, right, op = right, left, _MIRRORED[op]
    return condition(_column(left), op, _operand(right), columns)


def _flag(name: str, columns: Mapping[str, str]) -> Where:
    """A column of true and false by itself."""
    kind = columns.get(name.lower(), "boolean")
    if kind != "boolean":
        raise FilterError(f"a comparison is missing behind {name[:40]!r}; {_TAKEN}")
    return condition(name, "=", True, columns)


def _shown(found: Any) -> str:
    return str(found.sql()).replace(f'"{_MARK}', '"')


def _column(found: Any) -> str:
    if isinstance(found, exp.Column):
        return str(found.name).removeprefix(_MARK)
    raise FilterError(f"expected a column where {_shown(found)[:40]!r} stands; {_TAKEN}")


def _operand(found: Any) -> Any:
    return Column(_column(found)) if isinstance(found, exp.Column) else _literal(found)


def _literal(found: Any) -> str | Decimal | bool:
    if isinstance(found, exp.Boolean):
        return bool(found.this)
    if isinstance(found, exp.Literal):
        return str(found.this) if found.is_string else Decimal(str(found.this))
    if isinstance(found, exp.Neg) and isinstance(found.this, exp.Literal) and not found.this.is_string:
        return Decimal(str(found.this.this)).copy_negate()
    if isinstance(found, exp.Null):
        raise FilterError("nothing equals NULL; write IS NULL or IS NOT NULL")
    raise FilterError(f"expected a text in quotes, a number, true or false where {_shown(found)[:40]!r} stands")


def _pattern(found: Any, escape: Any) -> str:
    """A LIKE pattern with the backslash as its escape."""
    pattern = _literal(found)
    if not isinstance(pattern, str) or not isinstance(escape, str) or len(escape) != 1:
        raise FilterError("LIKE takes a text in quotes, ESCAPE one character in quotes: name LIKE '100!%' ESCAPE '!'")
    written: list[str] = []
    signs = iter(pattern)
    for sign in signs:
        if sign == escape:
            taken = next(signs, None)
            if taken is None:
                raise FilterError(f"the LIKE pattern ends with its escape {escape!r}; write it twice for itself")
            written.append(f"\\{taken}" if taken in "%_\\" else taken)
        else:
            written.append("\\\\" if sign == "\\" else sign)
    return "".join(written)
