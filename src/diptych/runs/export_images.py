"""Images of a source, drawn at random, on which an export measures ranges and nearness."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Preprocess, Progress
from diptych.core.shapes import UInt8
from diptych.core.types import ImageRef
from diptych.data.images import stream
from diptych.data.readers import SourceOptions

from .reading import ANY_SOURCE, AnySource, open_any

IMAGES = 320  # to draw: enough for ranges that more images hardly change
SKIPPED = "skipped"  # the kind of a note
_BATCH = 32


@dataclass(frozen=True)
class DrawnImages:
    """Prepared images in random order, and what of the source was passed over."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    notes: Notes


def draw_images(
    preprocess: Preprocess,
    source: AnySource,
    options: SourceOptions = ANY_SOURCE,
    *,
    most: int = IMAGES,
    seed: int = 0,
    progress: Progress = SILENT,
) -> DrawnImages:
    """At most `most` readable images, of the source's training split where it has one.

    Files that cannot be read are replaced by others, named and counted. Raises DataError where none can be read.
    """
    opened = open_any(source, dataclasses.replace(options, split=None))
    pairs = list(opened)
    refs: list[ImageRef] = [ref for pair in pairs if pair.split == "train" for ref in pair.images]
    refs = refs or [ref for pair in pairs for ref in pair.images]
    order = np.random.default_rng(seed).permutation(len(refs))
    kept: list[np.ndarray] = []
    batches = stream([refs[place] for place in order], preprocess, batch_size=_BATCH)
    for batch in progress.track(
        batches, "batches of images to export by", min(-(-most // _BATCH), -(-len(refs) // _BATCH))
    ):
        for _, skipped in batch.skipped:
            opened.notes.add(SKIPPED, f"images passed over ({skipped.reason.value})", skipped.name)
        kept.append(batch.pixels)
        if sum(map(len, kept)) >= most:
            break
    if not any(map(len, kept)):
        raise DataError(
            f"{opened.name} has no image that can be read, of {len(refs)}; name another source", Reason.NO_IMAGE
        )
    return DrawnImages(np.concatenate(kept)[:most], opened.notes)
