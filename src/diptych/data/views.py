"""Views: the same image shown to a frozen tower in several ways, so that cached features still vary.

A view is a name, "full", "flip" or "crop-K". A crop's box is drawn from the image's own pixels and
K, so the same image gives the same crop in every run, on every machine.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.data.images import mirrored, prepare

FULL = "full"
CROP_AREA = (0.4, 1.0)  # share of the image that a crop keeps
CROP_ASPECT = (3 / 4, 4 / 3)  # stretch of a crop, as width over height
_CROP = re.compile(r"crop-(\d{1,3})")


def check_views(names: tuple[str, ...]) -> None:
    """Raise ConfigError for a view that is not full, flip or crop-K, or for a list without full."""
    for name in names:
        if name not in (FULL, "flip") and not _CROP.fullmatch(name):
            raise ConfigError(f"unknown view {name!r}; choose from full, flip, crop-0, crop-1, ...")
    if FULL not in names:
        raise ConfigError(f"views must include 'full' (what search shows the tower), found {', '.join(names)}")


def show_view(pixels: UInt8[np.ndarray, "*f h w 3"], view: str, preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """The tower's input for one view of a decoded image; all frames of a video get the same."""
    if view == FULL:
        return prepare(pixels, preprocess)
    if preprocess.is_of_sounds:
        raise ConfigError(f"a sound has the view full only, found {view!r}; leave the other views out")
    if view == "flip":
        return mirrored(prepare(pixels, preprocess), preprocess)
    found = _CROP.fullmatch(view)
    if found is None:
        raise ConfigError(f"unknown view {view!r}; choose from full, flip, crop-0, crop-1, ...")
    draw = np.random.default_rng((int(found.group(1)), zlib.crc32(pixels.tobytes())))
    top, left, height, width = _box(draw, pixels.shape[-3], pixels.shape[-2])
    shown = prepare(pixels[..., top : top + height, left : left + width, :], preprocess)
    return mirrored(shown, preprocess) if draw.random() < 0.5 else shown


def _box(draw: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    area = draw.uniform(*CROP_AREA)
    aspect = np.exp(draw.uniform(*np.log(CROP_ASPECT)))
    crop_width = max(1, round(width * min(1.0, np.sqrt(area * aspect))))
    crop_height = max(1, round(height * min(1.0, np.sqrt(area / aspect))))
    top = int(draw.integers(0, height - crop_height + 1))
    left = int(draw.integers(0, width - crop_width + 1))
    return top, left, crop_height, crop_width
