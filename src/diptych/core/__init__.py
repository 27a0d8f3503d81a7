"""What every other package builds on: records, errors, protocols, the registry, configs, fingerprints.

It imports nothing of ours and no PyTorch. `types` has `Pair`, `Text` and `Hit`; `errors` the one tree of exceptions;
`protocols` what a tower, a cross-encoder and a progress reporter must offer; `registry` the table of named parts;
`config` fills frozen dataclasses from TOML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .errors import ConfigError, DataError, DiptychError, LibraryError, LimitError, ModelError, Reason
    from .notes import Note, Notes
    from .protocols import CrossEncoder, ImageTower, Preprocess, Progress, TextTower
    from .registry import Part, register
    from .types import Hit, ImageRef, Pair, Skipped, Text

__all__ = [
    "ConfigError",
    "CrossEncoder",
    "DataError",
    "DiptychError",
    "Hit",
    "ImageRef",
    "ImageTower",
    "LibraryError",
    "LimitError",
    "ModelError",
    "Note",
    "Notes",
    "Pair",
    "Part",
    "Preprocess",
    "Progress",
    "Reason",
    "Skipped",
    "Text",
    "TextTower",
    "register",
]
__getattr__, __dir__ = lazy(__name__)
