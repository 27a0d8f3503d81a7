"""The facts of one image, or of one sound in its place: whether it can be read, its size, its hashes."""

from __future__ import annotations

from dataclasses import dataclass

from diptych.core.errors import DataError
from diptych.core.types import BytesImage, ImageRef, Skipped
from diptych.data.cache import content_key
from diptych.data.images import ImageLimits, decode, perceptual_hash, read_size
from diptych.data.images.sources import read_bytes
from diptych.data.sounds import is_sound, probe, spectrogram

_HEAD = 16  # first bytes, enough to recognise a sound
_MOST_FRAMES = 6000  # of a sound, that are looked at: a minute
_AT_LEAST = 64  # pixels that the perceptual hash needs in the shorter side
_BLANK = 2.0  # standard deviation in grey levels of every channel below which an image shows nothing


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The facts of a readable image."""

    digest: bytes  # of the encoded bytes: equal for identical files
    hash: int  # perceptual, 64 bits: near for images that look the same
    width: int  # pixels
    height: int  # pixels
    blank: bool  # one flat colour, on which the perceptual hash says nothing; silent
    seconds: float | None = None  # of a sound, which has frames of 10 ms and bands in place of pixels

    @property
    def is_comparable(self) -> bool:
        """Whether the perceptual hash says what it looks like."""
        return not self.blank and self.seconds is None


def inspect_image(image: ImageRef, limits: ImageLimits) -> ImageFacts | Skipped:
    """Read and decode the image once; what cannot be read comes back as Skipped with the reason."""
    try:
        data = read_bytes(image, limits)
        if is_sound(data[:_HEAD], image.name):
            return _inspect_sound(data, image.name)
        held = BytesImage(data, image.name)
        pixels = decode(held, limits, at_least=_AT_LEAST)
        width, height = read_size(held, limits)
    except DataError as error:
        return Skipped(image.name, error.reason, str(error))
    blank = float(pixels.std(axis=(0, 1)).max()) < _BLANK
    return ImageFacts(content_key(data), perceptual_hash(pixels), width, height, blank)


def _inspect_sound(data: bytes, name: str) -> ImageFacts:
    """The facts of a sound, of which the first minute is decoded. Raises DataError for one that cannot be read."""
    levels = spectrogram(data, name, _MOST_FRAMES)
    facts = probe(data, name)
    return ImageFacts(content_key(data), 0, facts.frames, len(levels), bool((levels <= 1).all()), facts.seconds)
