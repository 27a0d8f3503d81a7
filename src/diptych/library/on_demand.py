"""Tokens of candidates that have none yet, made when a search asks for them and kept for the next one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from diptych.core.file_names import unescape
from diptych.core.types import BytesImage, ImageRef

from .images import Wanted, read_again
from .kinds import moment_of, video_of
from .store.rows import location
from .tokens import TokenStore

_PART = 4  # images encoded before the time is checked again
_SHARE = 0.5  # of a budget; the rest is for scoring


def add_tokens_of(store: TokenStore, wanted: Sequence[Wanted], folder: Path, budget_ms: float | None) -> None:
    """Encode and keep the tokens of those rows that have none, in their order, within half of the budget.

    Some are encoded whatever the budget. Images that are gone or have changed are left out, as is what cannot be kept.
    """
    started = time.perf_counter()
    left = [one for one in wanted if one.content not in store]
    for start in range(0, len(left), _PART):
        try:
            store.add(_references(left[start : start + _PART], folder), batch_size=_PART, workers=1)
        except OSError:  # the library's folder is read-only, or full
            return
        if budget_ms is not None and 1000 * (time.perf_counter() - started) > _SHARE * budget_ms:
            return


def _references(wanted: Sequence[Wanted], folder: Path) -> Iterator[tuple[ImageRef, str]]:
    """The images and moments that are still there, with their contents."""
    images = []
    for one in wanted:
        if video_of(one.path):
            yield moment_of(unescape(location(one.path, folder))), one.content
        else:
            images.append(one)
    for one, image in read_again(images, folder):
        if image is not None:
            yield BytesImage(image.data, one.path), one.content
