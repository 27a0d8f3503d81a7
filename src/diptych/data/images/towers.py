"""The one way from a source to a tower's pixels: the same bytes give the same pixels wherever they come in."""

from __future__ import annotations

import numpy as np

from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.data.image_inputs import DEFAULT_LIMITS, ImageInput, ImageLimits

from .decode import decode
from .prepare import prepare

# A JPEG is decoded to at least this many times the tower's size. At 1 the pixels of a detailed photo differ
# from those of a full decode by 2.3 grey levels on average, at 2 by 0.4, for a quarter more time.
_SPARE = 2
SPARE_PIXELS = 256  # in the shorter side, at least, where the file has them: enough for a thumbnail too


def decode_for(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels from which a tower's are made; of a large JPEG a reduced version, its shorter side 256 or more.

    Raises DataError as `decode` does.
    """
    return decode(source, limits, at_least=max(_SPARE * preprocess.size, SPARE_PIXELS))


def prepared(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "s s 3"]:
    """The pixels that a tower takes, as indexing, uploads, queries, evaluation and explanations make them."""
    return prepare(decode_for(source, preprocess, limits), preprocess)
