"""From sources to rows: what is found, what is new, what is read and embedded, and the report of a run.

`Library.index`, `index_texts` and `index_videos` are the way in; the door gives their options and report.

An image is skipped at one of three places, each with a `Reason`: `library/sources.py` when it is looked for (missing,
or no image by its name), `read_image` (`library/image_reading.py`) when its bytes and header are read, and
`diptych.data.images.decode` when its pixels are. All are in `IndexReport.skipped`; `cli/index.py` prints them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .options import IndexOptions
    from .report import UNDONE, IndexReport, Kept

__all__ = ["UNDONE", "IndexOptions", "IndexReport", "Kept"]
__getattr__, __dir__ = lazy(__name__)
