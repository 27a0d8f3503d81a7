"""Frozen dataclasses from TOML, with errors that name the key, the choices and the line.

One dataclass is the definition; a TOML file fills it, and `--set section.key=value` overrides it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .checks import PATH, of_type
from .errors import ConfigError
from .registry import Part as Part
from .registry import allow, nearest, part_of
from .registry import check_options as check_options
from .registry import unknown as unknown

C = TypeVar("C")


class _Document:
    """A TOML text, and the line of each key in it."""

    def __init__(self, name: str, text: str, overrides: Sequence[str] = (), extended: _Document | None = None) -> None:
        self.name = name
        self._extended = extended
        self._lines = text.split("\n")
        self._overrides = {tuple(_key_of(override)): override for override in overrides}
        self.keys: tuple[str, ...] = ()  # all that it may hold, as section.key

    def of(self, cls: type[Any]) -> _Document:
        """The same document, with all keys that the dataclass `cls` takes."""
        self.keys = tuple(_keys(cls))
        return self

    def at(self, path: Sequence[str]) -> str:
        """`file.toml:12` for the key at `path`, or the file alone when the key is not found literally.

        For a key that an override set it is the override: `--set section.key=value`.
        """
        if override := self._overrides.get(tuple(path)):
            return f"--set {override}"
        if line := self._line(path):
            return f"{self.name}:{line}"
        found = self._extended.at(path) if self._extended else self.name
        return found if ":" in found else self.name

    def _line(self, path: Sequence[str]) -> int | None:
        section: list[str] = []
        for number, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
            if header:
                section = [piece.strip().strip('"') for piece in header.group(1).split(".")]
                if section == list(path):
                    return number
                continue
            assigned = re.match(r'\s*"?([\w.-]+)"?\s*=', line)
            if assigned and [*section, *assigned.group(1).split(".")] == list(path):
                return number
            if assigned and path and [*section, assigned.group(1)] == list(path[:-1]):
                return number
        return None


def load(cls: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """Fill the dataclass `cls` from a TOML file and `section.key=value` overrides.

    A file may begin with `extends = "other.toml"`, a path beside its own: it then holds only what differs.
    Tables are merged key by key, except that a part of another name (`loss = {name = ...}`) replaces the
    whole part, since its options are others.

    Raises ConfigError naming the file, the line and the nearest key for an unknown key, a missing
    key, a value of the wrong type, or TOML that does not parse.
    """
    fill: Callable[[type[C]], C] = read(path, overrides)[1]
    return fill(cls)


def read(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], Callable[[type[C]], C]]:
    """The values of a TOML file (or a mapping like one) with overrides, and what fills a dataclass with them.

    The caller can look at the values before it chooses the dataclass. Raises ConfigError as `load`.
    """
    folder: Path | None = None
    if isinstance(config, Mapping):
        values, document = _merged({}, config), _Document("config", "", overrides)
    else:
        folder = Path(of_type(config, PATH, "a config: a TOML file, a mapping, or a config object")).resolve().parent
        values, document = _read(Path(config), overrides)
    for override in overrides:
        _apply(values, override)
    allow(values, folder)
    return values, lambda cls: _fill(cls, values, (), document.of(cls))


def _read(path: Path, overrides: Sequence[str] = (), above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], _Document]:
    """A file's values over those of the files that it extends, and where each key stands."""
    if path.resolve() in above:
        raise ConfigError(f"{above[-1]} extends {path.name}, which extends it in turn; break the circle")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text, so it is not a TOML config") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    extends = values.pop("extends", None)
    if extends is None:
        return values, _Document(str(path), text, overrides)
    if not isinstance(extends, str):
        raise ConfigError(f"{path}: extends must be the path of another TOML file, found {extends!r}")
    below, document = _read(path.parent / extends, (), (*above, path.resolve()))
    return _merged(below, values), _Document(str(path), text, overrides, document)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = value
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same_part = value.get("name", old.get("name")) == old.get("name")
            merged[key] = _merged(old, value) if same_part else value
    return merged


def peek(path: Path, key: str) -> Any:
    """The value of one top-level key of a TOML file; None when it, or the file, cannot be read.

    Its own value comes before that of a file that it extends.
    """
    try:
        return _read(path)[0].get(key)
    except (ConfigError, ValueError):
        return None


def from_dict(cls: type[C], values: Mapping[str, Any], name: str = "config") -> C:
    """Fill the dataclass `cls` from a nested mapping (a parsed TOML or JSON)."""
    return _fill(cls, values, (), _Document(name, "").of(cls))


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-ready nested mapping that `from_dict` turns back into the same dataclass."""

    def plain(value: Any) -> Any:
        if isinstance(value, Part):
            return {"name": value.name, **{key: plain(item) for key, item in value.options.items()}}
        if hasattr(value, "stated"):  # leaves out what came later and has its default
            return plain(value.stated())
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    result = plain(config)
    if not isinstance(result, dict):
        raise ConfigError(f"expected a dataclass, found {type(config).__name__}")
    return result


def stated_without(settings: Any, *later: str) -> dict[str, Any]:
    """The fields of a dataclass, for its `stated`: without those of `later` that have their default.

    What is hashed and written is this, so that what was made before those fields came keeps its fingerprint.
    """
    return {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name not in later or getattr(settings, field.name) != _default(field)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def check_least(settings: Any, **least: float) -> None:
    """Raise ConfigError for the first of these fields that is below its least value, infinite or not a number."""
    for name, low in least.items():
        if not low <= getattr(settings, name) < math.inf:
            raise ConfigError(f"{name} must be at least {low}, found {getattr(settings, name)}")


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set takes section.key=value, found {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, last = _key_of(override)
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section!r} is a value, not a section")
    target[last] = value


def _keys(cls: type[Any], path: str = "") -> Iterator[str]:
    """`section.key` of all that a dataclass and those within it take."""
    for name, hint in typing.get_type_hints(cls).items():
        yield f"{path}{name}"
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner) and isinstance(inner, type) and inner is not Part:
                yield from _keys(inner, f"{path}{name}.")


def _elsewhere(key: str, keys: Sequence[str]) -> str:
    """`; did you mean 'section.key'?` when a key of that name, or nearly, is in another section."""
    last = [each.rpartition(".")[2] for each in keys]
    close = difflib.get_close_matches(key, last, n=1)
    found = [each for each, name in zip(keys, last, strict=True) if close and name == close[0]]
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _key_of(override: str) -> list[str]:
    return override.partition("=")[0].strip().split(".")


def _fill(cls: type[C], values: Mapping[str, Any], path: tuple[str, ...], document: _Document) -> C:
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for key, value in values.items():
        here = (*path, key)
        if key not in fields:
            section = f" in [{'.'.join(path)}]" if path else ""
            listed = ", ".join(sorted(fields))
            hint = _elsewhere(key, document.keys)
            if f".{key}'" not in hint:  # no other section has that very key
                hint = nearest(key, fields) or hint
            raise ConfigError(f"{document.at(here)}: unknown key {key!r}{section}; it takes {listed}{hint}")
        filled[key] = _convert(hints[key], value, here, document)
    missing = dataclasses.MISSING
    needed = [name for name, each in fields.items() if each.default is missing and each.default_factory is missing]
    if lacking := [".".join((*path, name)) for name in needed if name not in filled]:
        raise ConfigError(f"{document.at(path)}: missing {', '.join(lacking)}")
    try:
        return cls(**filled)
    except ConfigError as error:
        raise ConfigError(f"{document.at(path)}: {error}") from error


def _convert(hint: Any, value: Any, path: tuple[str, ...], document: _Document) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        hint = next(option for option in options if option is not type(None))
        return _convert(hint, value, path, document)
    if hint is Part:
        return part_of(value, f"{document.at(path)}: {'.'.join(path)}")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise _wrong(hint.__name__, value, path, document)
        return _fill(hint, value, path, document)
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            raise _wrong("a list", value, path, document)
        inner, *others = typing.get_args(hint)
        if others and others != [Ellipsis] and len(value) != 1 + len(others):
            raise _wrong(f"a list of {1 + len(others)}", value, path, document)
        return tuple(_convert(inner, item, path, document) for item in value)
    if hint is Any or origin is not None:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(hint.__name__, value, path, document)
    return value


def _wrong(expected: str, value: Any, path: tuple[str, ...], document: _Document) -> ConfigError:
    return ConfigError(f"{document.at(path)}: {'.'.join(path)} must be {expected}, found {value!r}")
