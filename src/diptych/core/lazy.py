"""Public names of a package that are imported when they are first used, so that `import diptych` stays light.

    if TYPE_CHECKING:
        from .base import Loss
        from .table import build

    __all__ = ["Loss", "build"]
    __getattr__, __dir__ = lazy(__name__)

The imports under `if TYPE_CHECKING` are the only list of which module defines which name: type checkers and editors
read it, and so does `lazy`, once, when a name is first used.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose imports stand under `if TYPE_CHECKING`."""

    @functools.cache
    def places() -> dict[str, tuple[str, str]]:
        return _imports(package)

    def get(name: str) -> Any:
        # a name that is not public is not looked for: the import system asks for each submodule here
        if name not in sys.modules[package].__all__ or name not in places():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = places()[name]
        if module == package:  # a module of this package, asked for by name
            return importlib.import_module(f"{package}.{original}")
        owner = importlib.import_module(module)
        if not hasattr(owner, original):  # a module of that package
            importlib.import_module(f"{module}.{original}")
        found = getattr(owner, original)
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted(set(sys.modules[package].__all__))


def _imports(package: str) -> dict[str, tuple[str, str]]:
    """Public name -> (module, name there) of the imports under `if TYPE_CHECKING` in a package's own source."""
    import ast
    import importlib.util

    spec = importlib.util.find_spec(package)
    source = spec.loader.get_source(package) if spec and spec.loader else None  # type: ignore[attr-defined]
    blocks = [
        node
        for node in ast.parse(source or "").body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {
        alias.asname or alias.name: (
            importlib.util.resolve_name("." * each.level + (each.module or ""), package),
            alias.name,
        )
        for block in blocks
        for each in block.body
        if isinstance(each, ast.ImportFrom) and each.module != "typing"
        for alias in each.names
    }
