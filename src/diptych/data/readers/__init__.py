"""Readers: every supported layout of files becomes a stream of `Pair`s.

source = open_source("flickr8k/", SourceOptions(split="train"))
for pair in source: ...
source.skipped  # what was left out, and why
"""

from __future__ import annotations

from .drawn import is_drawn
from .meanings import next_meaning, shifted
from .options import SourceOptions, TextSourceOptions, normalise_split
from .reading import Reading
from .source import Source, of_origins, open_source
from .textfile import lines

__all__ = [
    "Reading",
    "Source",
    "SourceOptions",
    "TextSourceOptions",
    "is_drawn",
    "lines",
    "next_meaning",
    "normalise_split",
    "of_origins",
    "open_source",
    "shifted",
]
