"""Import a package of an optional extra, or say which extra brings it."""

from __future__ import annotations

import importlib
from typing import Any

from diptych.core.errors import MissingExtraError


def need(module: str, what: str, extra: str) -> Any:
    """The module, imported now; MissingExtraError naming `extra` when it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(what, extra, error) from error
