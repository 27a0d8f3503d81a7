"""Which frameworks are there: tests of the others skip, unless all are asked for (`make test-integrations`)."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

from diptych.core.errors import MissingExtraError

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"


def needs(module: str) -> Any:
    """The framework, imported, with torchvision repaired first where that is needed."""
    from diptych.encoders.compat import import_torchvision

    try:
        import_torchvision()
    except MissingExtraError:
        pytest.skip("needs the [train] extra", allow_module_level=True)
    if os.environ.get("DIPTYCH_ALL_INTEGRATIONS"):
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"needs {module}: make test-integrations")
