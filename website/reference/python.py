"""The public names of `diptych` and of its public modules, which mkdocstrings describes by their docstrings."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

TITLE = "Python"
MODULES = ("losses", "encoders", "training", "evaluation.metrics", "library", "runs", "data", "client")


def pages() -> dict[str, tuple[str, str]]:
    """A page for each public class or function of `diptych`, one for its errors, and one for each module."""
    found = {}
    front = [name for name in names("diptych") if name not in _modules() and not name.startswith("__")]
    errors = [name for name in front if name.endswith("Error")]
    for name in sorted(set(front) - set(errors), key=str.lower):
        found[f"reference/python/{name}.md"] = (name, _page(f"diptych.{name}", [f"diptych.{name}"]))
    found["reference/python/Library.md"] = ("Library", _library())
    found["reference/python/errors.md"] = ("Errors", _page("Errors", [f"diptych.{name}" for name in errors]))
    for module in MODULES:
        path = f"diptych.{module}"
        text = _page(path, [f"{path}.{name}" for name in names(path)])
        found[f"reference/python/{path}.md"] = (path, text)
    return found


def _modules() -> set[str]:
    return {module.rpartition(".")[2] for module in MODULES}


def _page(title: str, paths: list[str]) -> str:
    if [title] == paths:  # its own heading is the page's
        return f"::: {title}\n    options:\n      heading_level: 1\n"
    return "\n\n".join([f"# {title}", *(f"::: {path}\n    options:\n      heading_level: 2\n" for path in paths)])


def _library() -> str:
    """The class with its own members, then the methods that it takes from its parts, each under the library's name."""
    from diptych.library import Library

    own = _page("diptych.Library", ["diptych.Library"])
    taken = []
    for name, method in vars(Library).items():
        place = getattr(method, "__qualname__", "Library.")
        if not name.startswith("_") and not place.startswith("Library."):
            options = f"      heading_level: 2\n      heading: {name}\n      toc_label: {name}\n"
            taken.append(f"::: {method.__module__}.{place}\n    options:\n{options}")
    return "\n\n".join([own, *taken])


def names(module: str) -> list[str]:
    """The public names of a module: its `__all__`, or what it defines without a leading underscore.

    They are read from its source, since an import of some would bring PyTorch.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return [
        node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
