"""How likely the library's model itself says that a hit belongs to the query, where it judges pairs (SigLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal

import numpy as np

from diptych.core.similarity import of_cosines
from diptych.core.types import Hit
from diptych.data.video import SUFFIXES as VIDEO_SUFFIXES

from .kinds import video_of
from .store.rows import text_of

Asked = Literal["text", "image"]


def own_probabilities(model: Any, hits: Sequence[Hit], asked: Asked) -> list[float | None]:
    """The model's own probability that each hit, scored by the cosine, belongs to a plain text or one image.

    It is of an image with a text: None for a hit of the query's own kind, for a video or a moment of one, which is
    several images, and for every hit of a model that has no temperature and bias.
    """
    if not getattr(model, "judges_pairs", False) or not hits:
        return [None] * len(hits)
    cosines = np.array([hit.score for hit in hits], dtype=np.float64)
    found = model.pair_probability(of_cosines(getattr(model, "compares_by", "cosine"), cosines)).tolist()
    return [round(one, 6) if _is_pair(hit, asked) else None for hit, one in zip(hits, found, strict=True)]


def is_of_video(hit: Hit) -> bool:
    """Whether a hit is a video or a moment of one: its vector stands for several images."""
    if text_of(hit.meta) is not None:
        return False
    path = hit.path or ""
    return "video" in hit.meta or video_of(path) is not None or PurePath(path).suffix.lower() in VIDEO_SUFFIXES


def _is_pair(hit: Hit, asked: Asked) -> bool:
    is_text = text_of(hit.meta) is not None
    return is_text == (asked == "image") and not is_of_video(hit)
