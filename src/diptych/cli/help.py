"""What `--help` and `--help-env` print, in plain text as wide as the terminal.

A command is described by its function: the docstring's first sentence, its examples, and its parameters.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from .tree import Chain, Group

if TYPE_CHECKING:
    from cyclopts import App, Argument

ABOUT = "Find images by words and words by images, in many languages, on your own machine."
_MORE = (
    "diptych --version prints the version.",
    "Flags can be set in the environment: diptych COMMAND --help-env lists the names. DIPTYCH_LIBRARY stands for "
    "--library of every command.",
)
_LAST = ("How the source is read", "Options of every command")  # headings that most commands share
_INDENT, _COLUMN = 2, 30  # of the options, and of what they mean


def overview(name: str, group: Group) -> str:
    """The commands of a group, a line each. With "" for a name, of all of Diptych: `Group(ABOUT, TREE)`."""
    width = max(map(len, group.commands)) + 2
    lines = [f"  {below:{width}}{entry.summary}" for below, entry in group.commands.items()]
    words = f"diptych {name} COMMAND" if name else "diptych COMMAND"
    more = [f"{words} --help describes a command with examples.", *([] if name else _MORE)]
    return "\n".join([f"Usage: {words} [OPTIONS]", "", *_wrapped([group.summary]), "", *lines, "", *_wrapped(more)])


class Help(NamedTuple):
    """What there is to say about one command."""

    usage: str
    summary: str
    examples: list[str]
    more: list[str]  # paragraphs; one that is indented stays as it is
    options: Mapping[str, list[tuple[str, str]]]  # heading -> how each is written, and what it means


def about(chain: Chain, function: Callable[..., Any], app: App) -> Help:
    """What a command's function and its parameters say of it."""
    from inspect import getdoc

    summary, more, examples = _parts(getdoc(function) or "")
    shown = described(chain, app)
    needed = [_usage(one) for one in shown]
    usage = " ".join(["diptych", *chain, *(one for one in needed if one), "[OPTIONS]"])
    options = {
        title: [(_signature(one), _meaning(one)) for one in members] for title, members in _groups(shown).items()
    }
    return Help(usage, summary, examples, more, options)


def page(chain: Chain, function: Callable[..., Any], app: App) -> str:
    """The help of one command: usage, one sentence, examples, more, arguments and options."""
    told = about(chain, function, app)
    lines = [f"Usage: {told.usage}", "", *_wrapped([told.summary]), "", "Examples:"]
    lines += [f"  {line}" for line in told.examples]
    for paragraph in told.more:
        lines += ["", *_paragraph(paragraph)]
    for title, members in told.options.items():
        lines += ["", f"{title}:"]
        for signature, meaning in members:
            lines += _row(signature, meaning)
    return "\n".join(lines)


def environment(chain: Chain, app: App) -> str:
    """The variable behind each flag of a command, a line each."""
    prefix = "_".join(["DIPTYCH", *chain]).upper().replace("-", "_")
    rows = [
        (f"{prefix}_{_longest(one).lstrip('-').upper().replace('-', '_')}", _longest(one))
        for one in described(chain, app)
        if not _is_positional(one)
    ]
    if any(flag == "--library" for _, flag in rows):
        rows.append(("DIPTYCH_LIBRARY", "--library, of every command that uses a library"))
    width = max(len(name) for name, _ in rows) + 2
    lead = f"Environment variables of diptych {' '.join(chain)}; a flag on the command line counts more:"
    return "\n".join([lead, *(f"  {name:{width}}{flag}" for name, flag in rows)])


def described(chain: Chain, app: App) -> list[Argument]:
    """The arguments of a command that a person can give, in order, each with what it means."""
    for name in chain:
        app = app[name]
    return [one for one in app.assemble_argument_collection(parse_docstring=True) if one.show]


def _parts(text: str) -> tuple[str, list[str], list[str]]:
    """A docstring's first sentence, its further paragraphs, and its examples."""
    before = text.split("\nArgs:\n")[0]
    described, _, told = before.partition("\nExamples:\n")
    summary, *more = described.strip().split("\n\n")
    return " ".join(summary.split()), more, [line.strip() for line in told.splitlines() if line.strip()]


def _paragraph(text: str) -> list[str]:
    """A paragraph as wide as the terminal; lines that are indented stay as they are."""
    if text.startswith("    "):
        return text.splitlines()
    return _wrapped([text])


def _wrapped(paragraphs: Iterable[str], indent: int = 0) -> list[str]:
    space = " " * indent
    return [
        line
        for text in paragraphs
        for line in wrap(
            " ".join(text.split()), _width(), initial_indent=space, subsequent_indent=space, break_on_hyphens=False
        )
    ]


def _width() -> int:
    given = os.environ.get("COLUMNS", "")
    try:  # as shutil does, which would also import the compressors
        columns = int(given) if given.isdecimal() and int(given) else os.get_terminal_size(1).columns
    except OSError:  # no terminal
        columns = 80
    return max(40, min(120, columns))


def _groups(shown: Iterable[Argument]) -> Mapping[str, list[Argument]]:
    """The arguments by the heading they stand under; what most commands share comes last."""
    groups: dict[str, list[Argument]] = {}
    for one in shown:
        named = next(iter(one.parameter.group or ()), "Parameters")  # type: ignore[arg-type]  # always a tuple here
        title = named if isinstance(named, str) else named.name
        groups.setdefault("Options" if title == "Parameters" else title, []).append(one)
    return dict(sorted(groups.items(), key=lambda item: _LAST.index(item[0]) + 1 if item[0] in _LAST else 0))


def _row(left: str, right: str) -> list[str]:
    """An option and what it means, side by side where there is room."""
    if _width() < 2 * _COLUMN:
        return [" " * _INDENT + left, *_wrapped([right], 2 * _INDENT)]
    meaning = _wrapped([right], _COLUMN)
    head = f"{' ' * _INDENT}{left}"
    if len(head) > _COLUMN - 2:
        return [head, *meaning]
    return [f"{head:{_COLUMN}}{meaning[0].strip()}" if meaning else head, *meaning[1:]]


def _usage(argument: Argument) -> str:
    """How the argument stands in the line of usage; "" for an option that may be left out."""
    if _is_positional(argument):
        name = argument.name.strip("-").upper() + ("..." if argument.is_var_positional() else "")
        return name if argument.required else f"[{name}]"
    return _signature(argument) if argument.required else ""


def _signature(argument: Argument) -> str:
    """`--model NAME`, `-k, --k N`, `SOURCE`."""
    if _is_positional(argument):
        return argument.name.strip("-").upper()
    names = ", ".join(sorted(argument.names, key=len))
    value = _value(argument)
    return f"{names} {value}" if value else names


def _value(argument: Argument) -> str:
    """What stands for the value of an option; "" for a switch."""
    if argument.parameter.metavar:
        return argument.parameter.metavar
    kind = _kind(argument.hint)
    if kind is bool:
        return ""
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")


def _kind(hint: Any) -> Any:
    """The type of one value: that of what an optional one, a tuple or a list holds."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated or origin in (tuple, list):
        return _kind(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return _kind(next(one for one in typing.get_args(hint) if one is not type(None)))
    return hint


def _meaning(argument: Argument) -> str:
    """What the argument does, and its default where it has one worth telling."""
    told = argument.parameter.help or ""
    default = argument.field_info.default
    empty = default is None or default is False or default is argument.field_info.empty or default in ("", ())
    if empty or argument.required:
        return told
    return f"{told} [default: {', '.join(map(_shown, default if isinstance(default, tuple) else (default,)))}]"


def _shown(value: Any) -> str:
    """A default as a person would write it."""
    return "on" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def _longest(argument: Argument) -> str:
    return max(argument.names, key=len)


def _is_positional(argument: Argument) -> bool:
    kind = argument.field_info.kind
    return kind in (kind.POSITIONAL_ONLY, kind.VAR_POSITIONAL)
