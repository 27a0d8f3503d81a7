"""The protocol of text-to-image papers: N captions, one image of each, beside N distinct real images.

Papers draw 30,000 captions of COCO's 40,504 validation images. Where there are fewer distinct images, N is how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import SILENT, Preprocess, Progress
from diptych.core.types import ImageRef, Pair, Skipped
from diptych.data.cache import image_key
from diptych.data.images import stream

from .image_store import room_for
from .prompts import Prompt, RealImages, texts_to_draw

CAPTIONS = 30_000  # of the papers


@dataclass(frozen=True)
class CaptionedImages:
    """Texts to draw, one real image for each, and what was counted."""

    prompts: list[Prompt]
    real: RealImages
    remarks: tuple[str, ...]


def choose_captions(
    pairs: Sequence[Pair],
    size: int,
    *,
    lang: str,
    fields: Sequence[str] = (),
    most: int = CAPTIONS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> CaptionedImages:
    """`most` distinct images that have a text, or all there are, each with one of its texts; both drawn by the seed.

    Images of equal bytes count once. One that cannot be read is named, and another takes its place where there is one.

    Args:
        pairs: of the split.
        size: pixels a side that real images are squashed to, as of generated ones.
        lang, fields: of the texts, as of `choose_prompts`.

    Raises DataError when no image has such a text, or none can be read.
    """
    draw = np.random.default_rng(seed)
    listed, without, repeated = _distinct(pairs, lang, fields, draw, progress)
    order = [listed[place] for place in draw.permutation(len(listed))]
    wanted = min(most, len(order))
    pixels = room_for((wanted, size, size, 3))
    kept: list[tuple[Prompt, ImageRef]] = []
    skipped: list[Skipped] = []
    while order and len(kept) < wanted:
        now, order = order[: wanted - len(kept)], order[wanted - len(kept) :]
        batches = stream([ref for _, ref in now], Preprocess(size))
        read: list[int] = []
        for batch in progress.track(batches, "batches of real images", -(-len(now) // 32)):
            start = len(kept) + len(read)
            pixels[start : start + len(batch.indices)] = batch.pixels
            read += batch.indices
            skipped += [problem for _, problem in batch.skipped]
        kept += [now[place] for place in read]
    if not kept:
        raise DataError("there is no readable real image with a text to compare with", Reason.NO_IMAGE)
    count = len(kept)
    remarks = [
        f"one text each of {count:,} distinct real images, and one generated image of each text: {count:,} real and "
        f"{count:,} generated images" + (f"; {most:,} were asked for, and there are no more" if count < most else "")
    ]
    if repeated:
        remarks.append(f"{repeated:,} images have the same bytes as another, which counts once")
    if without:
        remarks.append(f"{without:,} images have no text to draw and are left out")
    owner = np.array([prompt.pair for prompt, _ in kept], dtype=np.int64)
    real = RealImages(pixels[:count], owner, tuple(ref for _, ref in kept), tuple(skipped))
    return CaptionedImages([prompt for prompt, _ in kept], real, tuple(remarks))


def _distinct(
    pairs: Sequence[Pair], lang: str, fields: Sequence[str], draw: np.random.Generator, progress: Progress
) -> tuple[list[tuple[Prompt, ImageRef]], int, int]:
    """Each distinct image with one of its pair's texts; how many have no such text, and how many came before."""
    found: list[tuple[Prompt, ImageRef]] = []
    seen: set[bytes] = set()
    without = repeated = 0
    for place, pair in enumerate(progress.track(pairs, "records", len(pairs))):
        texts = texts_to_draw(pair, lang, fields)
        turn = draw.permutation(len(texts))
        without += 0 if texts else len(pair.images)
        for number, ref in enumerate(pair.images if texts else ()):
            key = image_key(ref)
            if key is not None and key in seen:
                repeated += 1
                continue
            if key is not None:  # one that cannot be read is named when it is decoded
                seen.add(key)
            found.append((Prompt(texts[turn[number % len(texts)]], place), ref))
    return found, without, repeated
