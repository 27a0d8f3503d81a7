"""Every key of a config: its type, its default, and the comment beside it in the settings' dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.core.config import Part
from diptych.runs.run import DEFAULT, KINDS

from .markup import code, table, told

TITLE = "Configs"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Part: "part"}
_ABOUT = (
    '<p>A <em>part</em> is a name, <code>loss = "info_nce"</code>, or a table of a name with options, '
    '<code>loss = {name = "info_nce", temperature = 0.07}</code>. '
    "<code>diptych train CONFIG SOURCE --set SECTION.KEY=VALUE</code> "
    'sets one key; a file that begins with <code>extends = "other.toml"</code> holds only what differs.</p>'
)


def pages() -> dict[str, tuple[str, str]]:
    """A page for each kind of config: place -> title and text."""
    return {f"reference/configs/{kind}.md": (kind, _page(kind)) for kind in KINDS}


def _page(kind: str) -> str:
    module, _, name = KINDS[kind][0].partition(":")
    cls = getattr(importlib.import_module(f"diptych.runs.{module}"), name)
    stands = "the kind where none is named" if kind == DEFAULT else f'with <code>kind = "{kind}"</code>'
    parts = [f"# Config: {kind}", f"<p>{told(inspect.getdoc(cls) or '')} ({stands})</p>", _ABOUT]
    for section, settings in sections(cls):
        beside = comments(settings)
        parts.append(f"## {section}" if section else "## At the top")
        if section:
            parts.append(f"<p>{told((inspect.getdoc(settings) or '').partition(chr(10) * 2)[0])}</p>")
        rows = [
            (code(field.name), typed, default, told(beside.get(field.name, "")))
            for field, typed, default in _keys(settings)
        ]
        parts.append(table(["key", "type", "default", "what it does"], rows))
    return "\n\n".join(parts) + "\n"


def sections(cls: type[Any], path: str = "") -> Iterator[tuple[str, type[Any]]]:
    """The tables of a config, each with its dataclass: "" for the top, [data], [data.images], [[data.sources]]."""
    yield path, cls
    for name, hint in _hints(cls).items():
        inner, several = _settings(hint)
        if inner is not None:
            below = f"{path.strip('[]')}.{name}".lstrip(".")
            yield from sections(inner, f"[[{below}]]" if several else f"[{below}]")


def _keys(cls: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], str, str]]:
    """The keys of one table that are no tables themselves: field, type and default."""
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        if _settings(hints[field.name])[0] is None:
            yield field, _typed(hints[field.name]), _default(field)


def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _settings(hint: Any) -> tuple[type[Any] | None, bool]:
    """The dataclass of a key that is a table, and whether there may be several."""
    for one in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(one) and isinstance(one, type) and one is not Part:
            return one, typing.get_origin(hint) is tuple
    return None, False


def _typed(hint: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_typed(one) for one in inner if one is not type(None))
    if origin in (tuple, list):
        same = len(inner) == 2 and inner[1] is Ellipsis
        return f"list of {_typed(inner[0])}" if same else f"list of {len(inner)}: {_typed(inner[0])}"
    return _NAMES.get(hint, "any")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return _shown(field.default_factory())
    return "needed" if field.default is dataclasses.MISSING else _shown(field.default)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return code(_toml(value))


def _toml(value: Any) -> str:
    if isinstance(value, Part):
        options = "".join(f", {name} = {_toml(one)}" for name, one in value.options.items())
        return f'{{name = "{value.name}"{options}}}' if options else f'"{value.name}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else f'"{value}"' if isinstance(value, str | Path) else str(value)


def comments(cls: type[Any]) -> dict[str, str]:
    """What stands beside each field in the source: a comment above it or behind it, or a docstring below it."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if dataclasses.is_dataclass(one):
            found |= {name: text for name, text in _comments(textwrap.dedent(inspect.getsource(one))).items() if text}
    return found


def _comments(source: str) -> dict[str, str]:
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for place, node in enumerate(definition.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above: list[str] = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line.strip("# "))
        end = (node.end_lineno or node.lineno) - 1
        behind = lines[end].encode()[node.end_col_offset :].decode().strip("# ")
        below = definition.body[place + 1] if place + 1 < len(definition.body) else None
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        told = str(below.value.value) if is_text else ""  # type: ignore[union-attr]
        found[node.target.id] = "; ".join(part for part in (" ".join(above), behind, told) if part)
    return found
