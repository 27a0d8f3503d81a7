"""Looking inside: what a model finds, why, and how its space is laid out, as numbers and images.

`measure.py` goes from a model and a source to an evaluation report; `occlusion.py` explains a score; `atlas.py` lays a
collection out in the plane; `filtering.py` judges pairs; `generators/` measures generated images. Everything works on a
saved model through its vectors; nothing needs PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .atlas import Atlas, make_atlas
    from .filtering import Filtered, FilterSettings, filter_pairs
    from .measure import Measured, Task
    from .occlusion import Explanation, explain

__all__ = [
    "Atlas",
    "Explanation",
    "FilterSettings",
    "Filtered",
    "Measured",
    "Task",
    "explain",
    "filter_pairs",
    "make_atlas",
]
__getattr__, __dir__ = lazy(__name__)
