"""A moment of a video as one vector, or as the tokens of all its frames ("Thinking Fast and Slow", section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Bool, Float, Float32, UInt8
from diptych.data.images import prepare

Frames = Sequence[np.ndarray]  # of one moment, uint8 (h, w, 3)


class MeanPooledVideo:
    """The mean of the frames' unit vectors, of unit length again: text finds moments as it finds pictures.

    Args:
        encode_pixels: prepared pictures to vectors, such as a dual encoder's.
        preprocess: how frames are prepared for it.
    """

    def __init__(
        self, encode_pixels: Callable[[UInt8[np.ndarray, "b s s 3"]], np.ndarray], preprocess: Preprocess
    ) -> None:
        self._encode = encode_pixels
        self.preprocess = preprocess

    def embed(self, moments: Sequence[Frames]) -> Float32[np.ndarray, "b d"]:
        """One vector a moment. Raises DataError for a moment without frames."""
        counts = _counts(moments)
        vectors = normalise(np.asarray(self._encode(_prepared(moments, self.preprocess))))
        edges = np.cumsum([0, *counts[:-1]])
        return normalise(np.add.reduceat(vectors, edges, axis=0))


class TokenSequenceVideo:
    """The tokens of all frames, one after the other: what a cross-encoder looks at.

    Args:
        encode_tokens: prepared pictures to tokens (b, r, w), such as a cross-encoder's `encode_pixels`.
        preprocess: how frames are prepared for it.
    """

    def __init__(
        self, encode_tokens: Callable[[UInt8[np.ndarray, "b s s 3"]], np.ndarray], preprocess: Preprocess
    ) -> None:
        self._encode = encode_tokens
        self.preprocess = preprocess

    def tokens(self, moments: Sequence[Frames]) -> tuple[Float[np.ndarray, "b n w"], Bool[np.ndarray, "b n"]]:
        """Tokens of each moment, zeros after the last, and which of them are real."""
        counts = _counts(moments)
        every = np.asarray(self._encode(_prepared(moments, self.preprocess)))
        regions = every.shape[1]
        found = np.zeros((len(moments), max(counts) * regions, every.shape[2]), dtype=every.dtype)
        real = np.zeros(found.shape[:2], dtype=bool)
        for row, (start, count) in enumerate(zip(np.cumsum([0, *counts[:-1]]), counts, strict=True)):
            found[row, : count * regions] = every[start : start + count].reshape(count * regions, -1)
            real[row, : count * regions] = True
        return found, real


def _counts(moments: Sequence[Frames]) -> list[int]:
    counts = [len(frames) for frames in moments]
    if not counts or not all(counts):
        raise DataError("a moment has no frames; expected at least one each", Reason.NO_FRAMES)
    return counts


def _prepared(moments: Sequence[Frames], preprocess: Preprocess) -> UInt8[np.ndarray, "b s s 3"]:
    return np.stack([prepare(frame, preprocess) for frames in moments for frame in frames])
