"""What `diptych demo` shows: the whole path on drawings or on a source of pairs, or a search of photographs.

`drawings.py` checks, measures, fits, measures again, indexes and searches; `photographs.py` indexes a folder, searches
it by words and by image, re-ranks, and looks for copies and for words in images. Both are steps (`steps.py`), each with
its time and with the command that does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .drawings import DemoResult, run
    from .photographs import PhotoResult, is_of_photographs, run_on_photographs
    from .steps import Step

__all__ = ["DemoResult", "PhotoResult", "Step", "is_of_photographs", "run", "run_on_photographs"]
__getattr__, __dir__ = lazy(__name__)
