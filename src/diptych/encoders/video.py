"""Videos for what reads images: a tower of several frames, and the mean vector of frames that are encoded singly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.checks import at_least
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.protocols import ImageTower, MapTower, Preprocess
from diptych.core.registry import Part, build, register
from diptych.core.shapes import Float32, UInt8
from diptych.data.images import prepare
from diptych.data.video import MomentPlan, evenly

FRAMES = MomentPlan().frames  # that stand for a video, unless something else is said
Frames = Sequence[UInt8[np.ndarray, "h w 3"]]
_WHOLE = ("patches", "sound")  # modes of preprocessing that take no frames
_NO_FRAMES = "a moment has no frames; expected at least one each"


class FramesTower:
    """Several frames of a video through one image tower: the mean of their features, (b, d).

    `preprocess.frames` says how many there are; they come below one another, (b, frames * size, size, 3).
    """

    def __init__(self, tower: ImageTower, name: str, count: int) -> None:
        self._tower = tower
        self.address = f"frames:{getattr(tower, 'address', name)}"
        self.preprocess: Preprocess = dataclasses.replace(tower.preprocess, frames=count)

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self._tower.dim

    @property
    def fingerprint(self) -> str:
        """Of the tower, the number of frames and what becomes of their features."""
        own = [type(self).__name__, self.preprocess.frames, self._tower.fingerprint]
        return fingerprint.of_json(own)

    def embed(self, pixels: UInt8[np.ndarray, "b hh s 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of prepared videos."""
        return np.asarray(self._each(pixels).mean(axis=1, dtype=np.float32))

    def _each(self, pixels: UInt8[np.ndarray, "b hh s 3"]) -> Float32[np.ndarray, "b f d"]:
        frames = one_by_one(pixels, self.preprocess)
        return self._tower.embed(frames).reshape(len(pixels), self.preprocess.frames, self._tower.dim)


class FrameMapsTower(FramesTower):
    """Several frames of a video through one tower of feature maps: all their maps, frame after frame, (b, frames * d).

    A cross-encoder makes tokens of each frame and reads them as one sequence ("Thinking Fast and Slow", section 4).
    `maps` are those of one frame.
    """

    _tower: MapTower

    @property
    def dim(self) -> int:
        """Features of all frames."""
        return self._tower.dim * self.preprocess.frames

    @property
    def maps(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, rows, columns) of each map of a frame, finest first."""
        return self._tower.maps

    def embed(self, pixels: UInt8[np.ndarray, "b hh s 3"]) -> Float32[np.ndarray, "b d"]:
        """The maps of all frames."""
        return self._each(pixels).reshape(len(pixels), -1)


@register.image_tower("frames", "several frames of a video by another image tower", arguments=("TOWER",))
def frames_tower(
    tower: str, *, count: int = FRAMES, options: Mapping[str, Any] | None = None, device: str = "auto"
) -> FramesTower:
    """Frames of a video, evenly spread, by another image tower; an image is a video that stands still.

    Of a tower with feature maps the maps of all frames (for a cross-encoder), of another one the mean of the features.

    Args:
        tower: its name.
        count: frames of a video.
        options: of that tower.
        device: where it runs.
    """
    at_least("count", count, 2)
    inner: ImageTower = build("image_tower", Part(tower, options or {}), device=device)
    if inner.preprocess.frames > 1 or inner.preprocess.mode in _WHOLE or getattr(inner, "storage", "") == "uint8":
        raise ConfigError(f"the image tower {tower!r} cannot read frames one by one; choose another, such as timm:NAME")
    return (FrameMapsTower if isinstance(inner, MapTower) else FramesTower)(inner, tower, count)


class MeanPooledVideo:
    """The mean of the unit vectors of a video's frames, of unit length again: texts find videos as they find images.

    Args:
        encode: prepared images to vectors (b, d), such as a dual encoder's `encode_pixels`.
        preprocess: how images are prepared for it. A model that reads several frames gives their vector itself.
        frames: of a video, where the model reads one at a time.
    """

    def __init__(
        self,
        encode: Callable[[UInt8[np.ndarray, "b hh ww 3"]], np.ndarray],
        preprocess: Preprocess,
        frames: int = FRAMES,
    ) -> None:
        self._encode, self._of_model = encode, preprocess
        is_pooled = preprocess.frames == 1 and preprocess.mode not in _WHOLE
        self.preprocess = dataclasses.replace(preprocess, frames=frames) if is_pooled else preprocess

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float32[np.ndarray, "b d"]:
        """Vectors of videos that were prepared by `preprocess`."""
        if self.preprocess == self._of_model:
            return normalise(np.asarray(self._encode(pixels)))
        vectors = normalise(np.asarray(self._encode(one_by_one(pixels, self.preprocess))))
        return normalise(vectors.reshape(len(pixels), self.preprocess.frames, vectors.shape[1]).mean(axis=1))

    def embed(self, clips: Sequence[Frames]) -> Float32[np.ndarray, "b d"]:
        """One vector a video of which frames were read, however many. Raises DataError for one without frames."""
        counts = [len(frames) for frames in clips]
        if not counts or not all(counts):
            raise DataError(_NO_FRAMES, Reason.NO_FRAMES)
        read, preprocess = self._of_model.frames, self._of_model
        if read > 1:
            return normalise(self._encode(np.stack([prepare(evenly(frames, read), preprocess) for frames in clips])))
        vectors = self._encode(np.stack([prepare(frame, preprocess) for frames in clips for frame in frames]))
        starts = np.cumsum([0, *counts[:-1]]).tolist()
        return normalise(np.add.reduceat(normalise(vectors), starts, axis=0))


def one_by_one(pixels: UInt8[np.ndarray, "b hh ww 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "n s ww 3"]:
    """The frames of prepared videos as so many prepared images."""
    return pixels.reshape(-1, *preprocess.of_frame.shape)
