"""The tiny generator, a judge that was really trained, and held-out pairs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diptych.core.types import Pair
from diptych.data.readers import SourceOptions, open_source


@pytest.fixture(scope="session")
def drawing() -> ModuleType:
    """The module with the tiny generator."""
    spec = importlib.util.spec_from_file_location("drawing", Path(__file__).parents[2] / "drawing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["drawing"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pairs(shapes: Path) -> dict[str, list[Pair]]:
    """The pairs of both splits."""
    return {split: list(open_source(shapes, SourceOptions(split=split))) for split in ("train", "val")}


@pytest.fixture(scope="session")
def tools(small_model: Path) -> Any:
    """A trained judge, and the fake towers as frozen networks."""
    from diptych.inspection.generators import MapExtractor, MeasuringModels, open_extractor
    from diptych.models import load

    return MeasuringModels(load(small_model), open_extractor("fake"), MapExtractor("fake-maps"))
