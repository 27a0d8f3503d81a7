"""Images: read anything safely, prepare it for a tower, and stream many of them past a consumer.

Whatever the bytes are, the answer is either RGB pixels or a DataError with a Reason: limits are checked
before anything is decoded, a cut file is never passed off as a whole one, and one bad file never stops a run.

`decode.py` reads a file; `pixels.py` makes 8-bit RGB of what it holds (grey, alpha, 16 bits); `prepare.py` resizes it
for a tower, and `patches.py` packs it for towers that keep proportions; `stream.py` does all of this for many images,
in threads. A tower gets the pixels as `diptych.core.protocols.ImageTower.embed` says, and checks them with
`diptych.encoders.inputs`.
"""

from __future__ import annotations

from diptych.data.image_inputs import DEFAULT_LIMITS, SUFFIXES, ImageInput, ImageLimits

from .decode import Header, decode, read_header, read_size
from .patches import as_image, as_prepared, mirrored
from .phash import hamming, near_pairs, oriented_hashes, perceptual_hash
from .photo import Photo, read_beginning, read_photo
from .prepare import beginning_for, decode_for, prepare, prepared, resized, thumbnail
from .sources import as_ref, is_video, name_of
from .stream import PixelBatch, stream

__all__ = [
    "DEFAULT_LIMITS",
    "SUFFIXES",
    "Header",
    "ImageInput",
    "ImageLimits",
    "Photo",
    "PixelBatch",
    "as_image",
    "as_prepared",
    "as_ref",
    "beginning_for",
    "decode",
    "decode_for",
    "hamming",
    "is_video",
    "mirrored",
    "name_of",
    "near_pairs",
    "oriented_hashes",
    "perceptual_hash",
    "prepare",
    "prepared",
    "read_beginning",
    "read_header",
    "read_photo",
    "read_size",
    "resized",
    "stream",
    "thumbnail",
]
