"""A part of a video as one vector, or as the tokens of all its frames ("Thinking Fast and Slow", section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Bool, Float, Float32, UInt8
from diptych.data.images import prepare
from diptych.data.video import VideoImage

Clip = VideoImage | Sequence[np.ndarray]  # a reference, or frames that were read already, uint8 (h, w, 3)


class _VideoTower:
    """What both towers share.

    Args:
        encode: prepared images to vectors (b, d), such as a dual encoder's `encode_pixels`, or to tokens (b, r, w),
            such as a cross-encoder's.
        preprocess: how frames are prepared for it.
        frames: how many are read of a clip that is a reference.
    """

    def __init__(
        self, encode: Callable[[UInt8[np.ndarray, "b hh ww 3"]], np.ndarray], preprocess: Preprocess, frames: int = 4
    ) -> None:
        self._encode = encode
        self.preprocess = preprocess
        self._frames = frames

    def _encoded(self, clips: Sequence[Clip]) -> tuple[np.ndarray, list[int], list[int]]:
        """The frames of all clips, encoded; where each clip starts, and how many frames it has."""
        read = [clip.frames(self._frames) if isinstance(clip, VideoImage) else clip for clip in clips]
        counts = [len(frames) for frames in read]
        if not counts or not all(counts):
            raise DataError("a moment has no frames; expected at least one each", Reason.NO_FRAMES)
        prepared = np.stack([prepare(frame, self.preprocess) for frames in read for frame in frames])
        return np.asarray(self._encode(prepared)), np.cumsum([0, *counts[:-1]]).tolist(), counts


class MeanPooledVideo(_VideoTower):
    """The mean of the frames' unit vectors, of unit length again: texts find clips as they find images."""

    def embed(self, clips: Sequence[Clip]) -> Float32[np.ndarray, "b d"]:
        """One vector a clip. Raises DataError for a clip without frames."""
        vectors, starts, _ = self._encoded(clips)
        return normalise(np.add.reduceat(normalise(vectors), starts, axis=0))


class TokenSequenceVideo(_VideoTower):
    """The tokens of all frames, one after the other: the input of a cross-encoder."""

    def tokens(self, clips: Sequence[Clip]) -> tuple[Float[np.ndarray, "b n w"], Bool[np.ndarray, "b n"]]:
        """Tokens of each clip, zeros after the last, and which of them are real."""
        every, starts, counts = self._encoded(clips)
        regions = every.shape[1]
        found = np.zeros((len(clips), max(counts) * regions, every.shape[2]), dtype=every.dtype)
        real = np.zeros(found.shape[:2], dtype=bool)
        for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
            found[row, : count * regions] = every[start : start + count].reshape(count * regions, -1)
            real[row, : count * regions] = True
        return found, real
