"""Models: dual encoders and cross-encoders, how they are saved, and those that ship with the package.

`load("base")` or `load(folder)` gives a `DualEncoder`, which embeds images and texts into one space without PyTorch.
`cross_encoder/` holds the models that look at an image and a text together. A saved model is a folder (`folder.py`):
config, weights, graphs and card; loading one runs no code from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .dual import DualEncoder, require_cosine
    from .shipped import SHIPPED, as_model, lasting_name, load

__all__ = [
    "SHIPPED",
    "DualEncoder",
    "as_model",
    "lasting_name",
    "load",
    "require_cosine",
]
__getattr__, __dir__ = lazy(__name__)
