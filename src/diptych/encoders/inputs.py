"""What every tower does with its input: pixels are checked and normalised, texts made safe to tokenise.

Pixels have 8 bits here: `to_rgb` and `array_to_rgb` in `diptych.data.images.pixels` make them so from images of any
depth. A tower for 16-bit pixels needs a depth in `diptych.core.protocols.Preprocess` that those two, `resized` in
`diptych.data.images.prepare`, and `check_pixels` here follow.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np

from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float32, UInt8


def check_pixels(pixels: np.ndarray, preprocess: Preprocess) -> None:
    """Raise ModelError unless `pixels` is uint8 (b, h, w, 3) of the size the tower takes.

    Any array is let in by the signature: telling wrong ones apart is the point.
    """
    expected = preprocess.shape
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
        raise ModelError(
            f"found pixels of type {pixels.dtype} and shape {pixels.shape}; this tower takes uint8 of shape "
            f"(b, {', '.join(map(str, expected))}); resize by the tower's `preprocess` first"
        )
    if preprocess.mode == "patches":
        from diptych.data.images.patches import grids  # a search by words decodes no image

        rows, columns = grids(pixels)
        count, most = rows * columns, (preprocess.size // preprocess.patch) ** 2
        if ((count < 1) | (count > most)).any():
            raise ModelError(f"found packed images that state {count.tolist()} patches; expected 1 to {most} each")


def normalise_pixels(pixels: np.ndarray, preprocess: Preprocess) -> Float32[np.ndarray, "b 3 h w"]:
    """(x - mean) / std for each channel of uint8 (b, h, w, 3). Raises ModelError for another type or size."""
    check_pixels(pixels, preprocess)
    batch, height, width, channels = pixels.shape
    planes = np.empty((batch, channels, height, width), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(preprocess.mean, preprocess.std, strict=True)):
        plane = planes[:, channel]
        np.subtract(pixels[..., channel], np.float32(mean), out=plane)
        plane *= np.float32(1 / std)
    return planes


def by_channel(values: Iterable[float], scale: float = 255.0) -> tuple[float, float, float]:
    """Mean or standard deviation as packages state it, of values from 0 to 1, for values from 0 to `scale`."""
    red, green, blue = (float(value) * scale for value in values)
    return red, green, blue


def grey_pixels(preprocess: Preprocess) -> UInt8[np.ndarray, "1 h w 3"]:
    """One grey image (or spectrogram) of the size a tower takes, to ask a model how wide its features are."""
    if preprocess.is_of_sounds:
        return np.full((1, *preprocess.shape), 127, dtype=np.uint8)
    grey = np.full((preprocess.size * preprocess.frames, preprocess.size, 3), 127, dtype=np.uint8)
    if preprocess.mode == "patches":
        from diptych.data.images.patches import as_prepared

        grey = as_prepared(grey, preprocess)
    return grey[np.newaxis]


def clean(text: str) -> str:
    """Lone surrogates become U+FFFD, NULs go, Unicode is composed (NFC), whitespace becomes one space."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", without_surrogates(text))
    return " ".join(text.replace("\0", "").split())


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which no tokenizer can encode; pairs become their character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
