"""One table of the parts that have a name in a config: losses, towers, networks, heads, readers, metrics, ...

    @diptych.register.loss("mine")
    class Mine(Loss):
        \"""One line that lists show.\"""

A built-in part is one file with such a line, in a folder of its kind. The names and summaries are read from the source
files, so listing them imports nothing; a part's module is imported when the part is asked for. Other packages offer
parts through entry points of the group `diptych.plugins`, and a config of the user's own may name one as
"package.module:Name" (see `allow`). What a saved model's folder names is looked up here and never imported.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from .checks import kind_of
from .errors import ConfigError, ModelError
from .extras import needed_by

T = TypeVar("T")
PLUGINS = "diptych.plugins"
HOW_TO_REGISTER = (
    "install the package that registers it through an entry point of the group diptych.plugins, or from Python import "
    "the module that does"
)
_PACKAGE = __name__.partition(".")[0]
_ROOT = Path(__file__).parents[1]
# a decorator, then the name of what it decorates and the first line of its docstring
_LINE = r"^@register\.{}\((.*?)\)\n(?=(?:@.*?^)?(?:class|def) (\w+).*?\"\"\"(.*?)(?:\"\"\"|\n))"
_OWN_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class PluginWarning(UserWarning):
    """A plugin that cannot be loaded."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A part chosen by name, with the options of that part: `{name = "info_nce", temperature = 0.1}`.

    The options are checked against the part's own signature when it is built.
    """

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of part.

    Args:
        title: what messages call it.
        folders: where the built-in ones are, below the package.
        known: arguments that the caller gives to those that take them; no options of a config.
    """

    title: str
    folders: tuple[str, ...]
    known: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "loss": Kind("loss", ("losses",), ("dim", "classes")),
    "similarity": Kind("similarity", ("core",)),
    "image_tower": Kind("image tower", ("encoders", "encoders.image", "models")),
    "text_tower": Kind(
        "text tower", ("encoders", "encoders.text"), ("tokenizer", "training_texts", "training_languages")
    ),
    "joint_model": Kind("joint model", ("encoders.joint",), ("device",)),
    "network": Kind("network", ("models.networks",), ("features", "length", "vocabulary")),
    "head": Kind("head", ("models",), ("features", "dim")),
    "fit": Kind("fit", ("training",)),
    "reader": Kind("format", ("data.readers",)),
    "metric": Kind("metric", ("evaluation",)),
    "discriminator": Kind("discriminator", ("synthesis",), ("size", "features", "classes", "settings", "below")),
    "frozen_network": Kind("frozen network", ("synthesis",)),
    "generator": Kind("generator", ("inspection.generators",)),
    "extractor": Kind("extractor", ("inspection.generators",)),
    "detector": Kind("detector", ("encoders.detectors", "encoders.image"), ("device",)),
    "translator": Kind("translation engine", ("encoders.translation", "data.translation"), ("device",)),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One registered part. `facts` is what its kind asks for besides the name, such as how a reader detects files.

    The fact `arguments` says what stands after a colon in the name ("timm:NAME_OR_FOLDER"): the argument's name.
    """

    kind: str
    name: str
    summary: str
    facts: Mapping[str, Any]
    module: str
    attribute: str
    part: Any = None  # None until its module is imported

    @property
    def usage(self) -> str:
        """How to write it: `name`, `name:ARGUMENT` or, where it may be left out, `name[:ARGUMENT]`."""
        arguments = self.facts.get("arguments", ())
        written = f":{arguments[0]}" if arguments else ""
        return f"{self.name}[{written}]" if self.facts.get("optional") else f"{self.name}{written}"

    def load(self) -> Entry:
        """The entry with its part and all its facts. Raises MissingExtraError when a package for it is missing."""
        if self.part is not None:
            return self
        with needed_by(f"the {KINDS[self.kind].title} {self.name}"):
            part = getattr(importlib.import_module(self.module), self.attribute)
        found = _TABLES[self.kind][self.name]  # put there by the decorator, if this was the first import
        return found if found.part is not None else dataclasses.replace(found, part=part)


class Register:
    """`@register.loss("mine")`, `@register.reader("mine", detects=...)`: a decorator for each kind of part.

    It takes the name, a `summary` (the first line of the docstring if left out), and the facts of the kind. Raises
    ConfigError for a name that another module has taken.
    """

    def __getattr__(self, kind: str) -> Callable[..., Callable[[T], T]]:
        if kind not in KINDS:
            raise AttributeError(f"there is no kind of part called {kind!r}; choose from {', '.join(KINDS)}")
        return functools.partial(_register, kind)

    def __dir__(self) -> list[str]:
        return list(KINDS)


def _register(kind: str, name: str, summary: str = "", **facts: Any) -> Callable[[T], T]:
    def add(part: T) -> T:
        made: Any = part
        taken = None if made.__module__.startswith(f"{_PACKAGE}.") else _table(kind).get(name)
        if taken and taken.module != made.__module__:
            raise ConfigError(f"the {KINDS[kind].title} {name!r} is taken by {taken.module}; choose another name")
        line = summary or (made.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        _TABLES[kind][name] = Entry(kind, name, line, facts, made.__module__, made.__qualname__, part)
        return part

    return add


register = Register()
"""Adds a part of one's own: `@register.loss("name")`, and so for every kind of part."""
_TABLES: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
_allowed: set[str] = set()
_folders: list[str] = []


def entries(kind: str) -> dict[str, Entry]:
    """All parts of a kind by name, in order, with those of plugins; no module of a built-in part is imported."""
    _load_plugins()
    return dict(sorted(_table(kind).items()))


def names(kind: str) -> list[str]:
    """The names of all parts of a kind, in order."""
    return list(entries(kind))


def has(kind: str, name: str) -> bool:
    """Whether there is a part of that name, where another kind of thing (a file, a folder) may be meant."""
    if _lookup(kind, name) is None:
        _load_plugins()
    return name in _allowed or _lookup(kind, name) is not None


def find(kind: str, name: str) -> Entry:
    """The part of that name, imported. Text after a colon is ignored where the part takes arguments.

    Raises ConfigError, with the choices and the nearest one, for a name that there is not.
    """
    title = KINDS[kind].title
    steps: tuple[Callable[[], None], ...] = (lambda: None, lambda: _import_own(kind, name), _load_plugins)
    for look_further in steps:
        look_further()
        if entry := _lookup(kind, name):
            if name.startswith(f"{entry.name}:") and not entry.facts.get("arguments"):
                raise ConfigError(f"found {title} {name!r}; expected {entry.usage}")
            return entry.load()
    if _OWN_CODE.fullmatch(name):
        raise ConfigError(f"the {title} {name!r} is not registered; {HOW_TO_REGISTER}")
    raise unknown(title, name, [entry.usage for entry in entries(kind).values()])


def _lookup(kind: str, name: str) -> Entry | None:
    """By the registered name, with or without arguments after a colon, or as "package.module:Name"."""
    table = _table(kind)
    same = (entry for entry in table.values() if f"{entry.module}:{entry.attribute}" == name)
    return table.get(name) or table.get(name.partition(":")[0]) or next(same, None)


def get(kind: str, name: str) -> Any:
    """The class or function itself, for kinds that are no factories (readers, metrics, similarities)."""
    return find(kind, name).part


def build(kind: str, part: Part, **known: Any) -> Any:
    """Call the part that a config names, with its options checked against its own signature.

    Args:
        kind: a key of `KINDS`.
        part: name and options.
        known: values of the kind's `known` arguments, such as the width of the embeddings, or of options where the
            config sets none, such as the device; what the part does not take is left out.

    Raises ConfigError for an unknown name or option, one that is missing, or a value that the part refuses.
    """
    entry = find(kind, part.name)
    where = f"{KINDS[kind].title} {part.name!r}"
    signature = inspect.signature(entry.part).parameters.values()
    parameters = {each.name: each for each in signature if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    arguments = _arguments(entry, part.name)
    free = list(parameters)[len(arguments) :]
    given = {key: value for key, value in known.items() if key in free}
    takes = [key for key in free if key not in KINDS[kind].known]
    if not any(each.kind is each.VAR_KEYWORD for each in signature):
        check_options(part.options, takes, where)
    for key, value in part.options.items():
        if key in parameters:
            _check_type(value, str(parameters[key].annotation), f"{where}: {key}")
    required = [key for key in free if parameters[key].default is inspect.Parameter.empty]
    if missing := [key for key in required if key in KINDS[kind].known and given.get(key) is None]:
        raise ConfigError(f"{where} needs {missing[0]}, which is not known here; pass {missing[0]} when building it")
    if missing := [key for key in required if key not in given and key not in part.options]:
        raise ConfigError(f"{where} needs {', '.join(missing)}; it takes {', '.join(sorted(takes))}")
    try:
        return entry.part(*arguments, **{**given, **part.options})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{where} cannot take {dict(part.options)}: {error}") from error


def require(kind: str, part: Part, folder: Path) -> None:
    """Raise ModelError where a part that the saved model in `folder` names is not registered. Nothing is imported."""
    if not has(kind, _renamed(part.name)):
        needed = f"the {KINDS[kind].title} {part.name!r}"
        raise ModelError(f"{folder} needs {needed}, which is not registered here; {HOW_TO_REGISTER}")


def build_saved(kind: str, part: Part, folder: Path, **known: Any) -> Any:
    """As `build`, for a part that the saved model in `folder` names, also by a name of before; see `require`."""
    require(kind, part, folder)
    return build(kind, Part(_renamed(part.name), _renamed(part.options)), **known)


def _renamed(value: Any) -> Any:
    """A saved name as it is written now: "hf:NAME" was "transformers:NAME", "open_clip:A/B" was "open_clip:A@B"."""
    if isinstance(value, Mapping):
        return {key: _renamed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_renamed(item) for item in value)
    if isinstance(value, str):
        value = re.sub(r"^transformers(?=:|$)", "hf", value)
        return re.sub(r"^(open_clip:[^/@]+)@", r"\1/", value)
    return value


def part_of(value: Any, where: str) -> Part:
    """A part within a part: a name, or a table with a name and options. Raises ConfigError for anything else."""
    if isinstance(value, str):
        return Part(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ConfigError(f'{where} must be a name, or a table with name = "...", found {value!r}')
    return Part(value["name"], {key: item for key, item in value.items() if key != "name"})


def allow(values: Any, folder: Path | None = None) -> None:
    """Let the parts that a config of the user's own names as "package.module:Name" be imported when they are built.

    Modules are found as always, then in `folder` (that of the config), then in the current folder.
    """
    if isinstance(values, str) and _OWN_CODE.fullmatch(values):
        _allowed.add(values)
        _folders.extend(str(each) for each in (folder, Path.cwd()) if each and str(each) not in _folders)
    elif isinstance(values, Part):
        allow([values.name, values.options], folder)
    elif isinstance(values, Mapping | list | tuple):
        for value in values.values() if isinstance(values, Mapping) else values:
            allow(value, folder)


def nearest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something in `choices` is close to `name`, else nothing."""
    found = difflib.get_close_matches(name, list(choices), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def unknown(kind: str, name: str, choices: Iterable[str], where: str = "") -> ConfigError:
    """The error for a name that is not in its table: it lists the choices and the nearest one."""
    choices = sorted(choices)
    at = f"{where}: " if where else ""
    return ConfigError(f"{at}unknown {kind} {name!r}; choose from {', '.join(choices)}{nearest(name, choices)}")


def check_options(options: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first option that is not among `allowed`."""
    allowed = sorted(allowed)
    for key in options:
        if key not in allowed:
            listed = ", ".join(allowed) or "none"
            raise ConfigError(f"{where}: unknown option {key!r}; it takes {listed}{nearest(key, allowed)}")


# annotations of options that a config can set: what a value must be, and what a message calls it
_TYPES: Mapping[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "str": (str, "text"),
    "None": (type(None), "nothing"),
}


def _check_type(value: Any, annotation: str, where: str) -> None:
    """Raise ConfigError for a value that is none of the annotation's types; other annotations are the part's own."""
    names = annotation.split(" | ")
    if all(name in _TYPES for name in names) and not any(_is(value, name) for name in names):
        expected = " or ".join(_TYPES[name][1] for name in names if name != "None")
        raise ConfigError(f"{where} must be {expected}, found {kind_of(value)}")


def _is(value: Any, name: str) -> bool:
    """Whether it is of that type; true and false are no numbers."""
    return isinstance(value, _TYPES[name][0]) and (name == "bool" or not isinstance(value, bool))


def _arguments(entry: Entry, name: str) -> list[str]:
    """What stands after the colon."""
    wanted = entry.facts.get("arguments", ())
    rest = name.removeprefix(f"{entry.name}:") if name.startswith(f"{entry.name}:") else ""
    if not wanted or (not rest and entry.facts.get("optional")):
        return []
    if not rest:
        raise ConfigError(f"found {KINDS[entry.kind].title} {name!r}; expected {entry.usage}")
    return [rest]


def _table(kind: str) -> dict[str, Entry]:
    """The parts of a kind that are known so far; the built-in ones always are."""
    for entry in _built_in(kind):
        _TABLES[kind].setdefault(entry.name, entry)
    return _TABLES[kind]


@functools.cache
def _built_in(kind: str) -> tuple[Entry, ...]:
    """Built-in parts by the `@register.KIND(...)` lines of the source files in the kind's folders."""
    found: list[Entry] = []
    for folder in KINDS[kind].folders:
        for info in pkgutil.iter_modules([str(_ROOT.joinpath(*folder.split(".")))]):
            module = f"{_PACKAGE}.{folder}.{info.name}"
            spec = info.module_finder.find_spec(info.name, None)
            source = getattr(spec and spec.loader, "get_source", lambda name: None)(info.name)
            if source is None:
                importlib.import_module(module)  # no source is installed: its decorators fill the table
            elif f"@register.{kind}(" in source:
                found += _lines(kind, module, source)
    return tuple(found)


def _lines(kind: str, module: str, source: str) -> Iterator[Entry]:
    for match in re.finditer(_LINE.format(kind), source, re.MULTILINE | re.DOTALL):
        call, attribute, documented = match.groups()
        line = ast.parse(f"register({call})", mode="eval").body
        if isinstance(line, ast.Call):
            name, *summary = (ast.literal_eval(argument) for argument in line.args)
            facts = {keyword.arg or "": _literal(keyword.value) for keyword in line.keywords}
            yield Entry(kind, name, summary[0] if summary else documented.rstrip("."), facts, module, attribute)


def _literal(node: ast.expr) -> Any:
    """The value of a fact that is written out; ... for others, which are known once the module is imported."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


@functools.cache
def _load_plugins() -> None:
    """Import the parts of other packages, once; one that fails is named in a warning and stops no other."""
    from importlib.metadata import entry_points  # an import of 15 ms, which most commands do without

    for point in entry_points(group=PLUGINS):
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist else "an unknown package"
            message = f"the plugin {point.name} of {package} cannot be loaded: {error}"
            warnings.warn_explicit(message, PluginWarning, PLUGINS, 0)  # one line, without the place of this call


def _import_own(kind: str, name: str) -> None:
    """Import "package.module:Name" and register it by that name, if a config of the user's own named it."""
    if name not in _allowed:
        return
    module, _, attribute = name.partition(":")
    sys.path += [folder for folder in _folders if folder not in sys.path]
    try:
        part = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        choices = [entry.usage for entry in entries(kind).values()]
        raise ConfigError(
            f"cannot import the {KINDS[kind].title} {name!r}: {error}; modules are looked for among the installed "
            f"packages, in the config's folder and in the current folder. Registered names: {', '.join(choices)}"
        ) from error
    _TABLES[kind][name] = Entry(kind, name, "", {}, module, attribute, part)
