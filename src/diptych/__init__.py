"""Diptych: one space for images and texts.

import diptych
model = diptych.load("base")
model.similarity(images=model.encode_images(["a.jpg", "b.jpg"]), texts=model.encode_texts("ein Hund am Strand"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diptych.core import telemetry

telemetry.switch_off()  # here, because what it tells must be there before any other package is imported

# name -> module; imported when first used, so that `import diptych` stays light
_PUBLIC = {
    "load": "diptych.models",
    "DualEncoder": "diptych.models",
    "Library": "diptych.library",
    "Pair": "diptych.core.types",
    "Text": "diptych.core.types",
    "Hit": "diptych.core.types",
    "DiptychError": "diptych.core.errors",
    "open_source": "diptych.data.readers",
    "register": "diptych.core.registry",
    "__version__": "diptych.core.version",  # reading the metadata of a package takes longer than `--help` should
}

if TYPE_CHECKING:
    from diptych.core.errors import DiptychError
    from diptych.core.registry import register
    from diptych.core.types import Hit, Pair, Text
    from diptych.core.version import __version__
    from diptych.data.readers import open_source
    from diptych.library import Library
    from diptych.models import DualEncoder, load


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'diptych' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_PUBLIC)


__all__ = [
    "DiptychError",
    "DualEncoder",
    "Hit",
    "Library",
    "Pair",
    "Text",
    "__version__",
    "load",
    "open_source",
    "register",
]
