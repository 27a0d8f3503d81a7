"""From files to records: readers of every layout make `Pair`s; images are decoded safely, features are cached.

`open_source(path)` finds the reader and gives a `Source` of pairs, which names what was left out and guessed. `doctor/`
checks a source, `translation/` adds languages, `emoji/` draws a source. Nothing here needs PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .features import CaptionedImages, FeaturePairs, Selection
    from .readers import Source, SourceOptions, open_source
    from .splits import divide

__all__ = ["CaptionedImages", "FeaturePairs", "Selection", "Source", "SourceOptions", "divide", "open_source"]
__getattr__, __dir__ = lazy(__name__)
