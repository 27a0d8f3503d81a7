"""Evenly sampled frames of the moments of a video file. This is the only module that imports PyAV.

A file is never decoded from end to end: each wanted frame is found by a seek and a bounded number of
decoded frames behind it. The number of moments is bounded too, so a video of ten hours costs no more than a short one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError, Reason, first_line, opening
from diptych.core.extras import need
from diptych.core.shapes import UInt8
from diptych.core.types import ImageRef

SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".flv", ".3gp"))
# Playlists (HLS, concat) are no videos: they would make the decoder open other files and addresses.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,flv,h264,hevc"
_OPTIONS = {"protocol_whitelist": "file,pipe", "format_whitelist": _FORMATS}
_DECODED_AT_MOST = 400  # frames behind a seek: some ten seconds between key frames
_NOTHING_AT_MOST = 3  # broken frames in a row before a moment is given up


@dataclass(frozen=True)
class VideoLimits:
    """What is read at most."""

    max_bytes: int = 8_000_000_000
    max_pixels: int = 50_000_000  # of one frame
    max_seconds: float = 48 * 3600.0

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_seconds) <= 0:
            raise ConfigError(f"video limits must be above 0, found {self}")


@dataclass(frozen=True)
class MomentPlan:
    """How a video is cut into moments, and how many frames stand for each."""

    seconds: float = 5.0  # length of a moment
    frames: int = 4  # of a moment, evenly spread
    most: int = 240  # moments of one video; longer moments are made of longer videos

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.frames < 1 or self.most < 1:
            raise ConfigError(f"moments need seconds above 0, and frames and most of at least 1, found {self}")

    def spans(self, duration: float) -> list[tuple[float, float]]:
        """Start and end of each moment in seconds: equal parts of the whole, none shorter than half of `seconds`."""
        count = max(1, min(self.most, round(duration / self.seconds)))
        edges = np.linspace(0.0, duration, count + 1)
        return [(float(start), float(end)) for start, end in itertools.pairwise(edges)]

    def times(self, start: float, end: float) -> list[float]:
        """Middles of `frames` equal parts of a moment."""
        step = (end - start) / self.frames
        return [start + (number + 0.5) * step for number in range(self.frames)]


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header says."""

    seconds: float
    width: int
    height: int


DEFAULT_LIMITS = VideoLimits()
DEFAULT_PLAN = MomentPlan()


@dataclass(frozen=True, slots=True)
class VideoImage(ImageRef):
    """A part of a video. `start` and `end` are seconds in the file; None is its end.

    Opened as an image, it is the frame in its middle; `frames` gives several, for a video tower.
    """

    path: Path
    start: float = 0.0
    end: float | None = None

    @property
    def name(self) -> str:
        """The file, and the part where it is not all of it: "beach.mp4::12.500-17.500"."""
        if self.end is None and not self.start:
            return str(self.path)
        return f"{self.path}::{self.start:.3f}-" + ("" if self.end is None else f"{self.end:.3f}")

    def open(self) -> IO[bytes]:
        """The frame in the middle, as PNG. Raises DataError as `frames`."""
        import PIL.Image

        stream = io.BytesIO()
        PIL.Image.fromarray(self.frames(1)[0]).save(stream, "PNG", compress_level=1)
        stream.seek(0)
        return stream

    def content(self) -> bytes:
        """The fingerprint of the file, and which part it is: no frame is decoded. Raises DataError(missing)."""
        return f"{self.file_fingerprint()} {self.start} {self.end}".encode()

    def file_fingerprint(self) -> str:
        """Of the whole file. Raises DataError(missing)."""
        with opening(self.path):
            status = self.path.stat()
        return _fingerprint(self.path, status.st_size, status.st_mtime_ns)

    def stated_bytes(self) -> None:
        """None: how many bytes a frame has is known only after decoding."""

    def clip(self, count: int, limits: VideoLimits = DEFAULT_LIMITS) -> UInt8[np.ndarray, "f h w 3"]:
        """Exactly `count` frames, evenly spread; one that cannot be decoded is replaced by another near it.

        Raises DataError as `frames`.
        """
        return evenly(self.frames(count, limits), count)

    def frames(self, count: int, limits: VideoLimits = DEFAULT_LIMITS) -> list[UInt8[np.ndarray, "h w 3"]]:
        """Up to `count` frames, evenly spread.

        Raises DataError: missing, too_large, not_a_video, or no_frames when nothing could be decoded.
        """
        with _opened(self.path, limits) as (container, stream, seconds):
            times = MomentPlan(frames=count).times(self.start, seconds if self.end is None else min(self.end, seconds))
            return _frames(container, stream, times, self.path) or _no_frames(self.path)


@functools.lru_cache(maxsize=4096)
def _fingerprint(path: Path, size: int, modified_ns: int) -> str:
    """Of a file, read once as long as it does not change: one video may have many parts."""
    return fingerprint.of_file(path)


@dataclass(frozen=True)
class Moment:
    """A part of a video and frames of it (fewer than planned where some cannot be decoded)."""

    video: VideoImage
    frames: list[UInt8[np.ndarray, "h w 3"]] = field(repr=False)


def evenly(frames: Sequence[UInt8[np.ndarray, "h w 3"]], count: int) -> UInt8[np.ndarray, "f h w 3"]:
    """`count` of these frames, evenly spread; some come twice where there are fewer."""
    return np.stack([frames[number * len(frames) // count] for number in range(count)])


def probe(path: Path, limits: VideoLimits = DEFAULT_LIMITS) -> VideoInfo:
    """Length and size of a video. Raises DataError with a reason for a file that cannot be used."""
    with _opened(path, limits) as (_, stream, seconds):
        return VideoInfo(seconds, stream.codec_context.width, stream.codec_context.height)


def moments_of(path: Path, plan: MomentPlan = DEFAULT_PLAN) -> list[VideoImage]:
    """The moments of a video in order, none of which is decoded yet. Raises DataError as `probe`."""
    return [VideoImage(path, start, end) for start, end in plan.spans(probe(path).seconds)]


def read_moments(path: Path, plan: MomentPlan = DEFAULT_PLAN, limits: VideoLimits = DEFAULT_LIMITS) -> Iterator[Moment]:
    """The moments of a video in order; what cannot be decoded is left out.

    Raises DataError: missing, too_large, not_a_video, malformed (it says it is one, but breaks), or no_frames
    when nothing at all could be decoded.
    """
    found = 0
    with _opened(path, limits) as (container, stream, seconds):
        for start, end in plan.spans(seconds):
            frames = _frames(container, stream, plan.times(start, end), path)
            if frames:
                found += 1
                yield Moment(VideoImage(path, start, end), frames)
    if not found:
        _no_frames(path)


def _no_frames(path: Path) -> NoReturn:
    raise DataError(f"no frame of {path} can be decoded; convert it again from its source", Reason.NO_FRAMES)


@contextlib.contextmanager
def _opened(path: Path, limits: VideoLimits) -> Iterator[tuple[Any, Any, float]]:
    av = _library()
    with opening(path):
        size = path.stat().st_size
    if size > limits.max_bytes:
        raise DataError(f"{path} has {size:,} bytes, the limit is {limits.max_bytes:,}", Reason.TOO_LARGE)
    try:
        container = av.open(str(path), options=dict(_OPTIONS))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DataError(f"{path} is no video that can be read ({first_line(error)})", Reason.NOT_A_VIDEO) from error
    with container:
        if not container.streams.video:
            raise DataError(f"{path} has no video stream", Reason.NO_FRAMES)
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # several videos are read side by side
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > limits.max_pixels:
            raise DataError(f"frames of {path} have {width} x {height} pixels, too many", Reason.TOO_LARGE)
        seconds = _seconds(container, stream)
        if seconds > limits.max_seconds:
            hours, most = seconds / 3600, limits.max_seconds / 3600
            raise DataError(f"{path} lasts {hours:.1f} hours, the limit is {most:.1f}", Reason.TOO_LARGE)
        yield container, stream, seconds


def _seconds(container: Any, stream: Any) -> float:
    """Length of the video; 0 where the file does not say."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, container.duration / 1_000_000) if container.duration else 0.0


def _frames(container: Any, stream: Any, times: list[float], path: Path) -> list[UInt8[np.ndarray, "h w 3"]]:
    av = _library()
    frames = []
    for seconds in times:
        with contextlib.suppress(av.error.FFmpegError):
            frame = _frame_at(container, stream, seconds)
            if frame is not None:
                frames.append(np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
    return frames


def _frame_at(container: Any, stream: Any, seconds: float) -> Any:
    """The first frame at or after `seconds`, else the last one before; None when nothing decodes."""
    av = _library()
    first = stream.start_time or 0
    target = first + int(seconds / stream.time_base)
    container.seek(target, stream=stream, backward=True, any_frame=False)
    last, decoded, broken, sound = None, 0, 0, False
    packets = container.demux(stream)
    while decoded < _DECODED_AT_MOST and broken < _NOTHING_AT_MOST:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return last
        except av.error.FFmpegError:
            broken += 1
            continue
        for frame in frames:
            decoded += 1
            # frames before the first key frame refer to frames that were not decoded
            sound = sound or frame.key_frame
            if not sound:
                continue
            last = frame
            if frame.pts is None or frame.pts >= target or math.isclose(frame.time or 0.0, seconds, abs_tol=1e-3):
                return frame
    return last


def _library() -> Any:
    return need("av", "reading videos")
