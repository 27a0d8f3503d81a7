"""From words to images: small generators, what they are trained against, and sampling from saved ones.

`load("emoji")` or `load(folder)` gives a `SavedGenerator`; it needs no PyTorch, since a saved generator runs on ONNX
Runtime. Generators, discriminators and their losses are modules that `diptych.runs` puts together for a training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .sampling import SavedGenerator, UnknownLanguageWarning, load

__all__ = [
    "SavedGenerator",
    "UnknownLanguageWarning",
    "load",
]
__getattr__, __dir__ = lazy(__name__)
