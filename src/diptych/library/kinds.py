"""The kinds of rows of a library: images, moments of videos, texts."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.file_names import unescape
from diptych.core.types import ImageRef
from diptych.data.video import SUFFIXES as VIDEO_SUFFIXES
from diptych.data.video import VideoImage
from diptych.library.store.protocol import Store, values
from diptych.library.store.rows import content_of

TEXT_SOURCE = "texts:"  # how the source of a text's row begins, so that indexing images of that file leaves it alone


def holds_texts(store: Store) -> bool:
    """Whether the rows are texts. A library has rows of one kind, so the first row says."""
    return next(values(store, "source"), "").startswith(TEXT_SOURCE)


def moment_of(name: str) -> VideoImage:
    """The moment of a video that a row's path, unescaped, names: "beach.mp4::12.500-17.500"."""
    video, _, part = name.rpartition("::")
    start, _, end = part.partition("-")
    return VideoImage(Path(video), float(start), float(end) if end else None)


def content_of_moment(file: str, moment: VideoImage) -> str:
    """What the row of a moment, or of a video, is known by: the fingerprint of the file, and the part in seconds."""
    end = "" if moment.end is None else f"{moment.end:.3f}"
    return fingerprint.combined([file, f"{moment.start:.3f}-{end}"])


def content_of_ref(ref: ImageRef) -> str:
    """What the row of an image or a video is known by. Raises DataError for one that cannot be read."""
    if isinstance(ref, VideoImage):
        return content_of_moment(ref.file_fingerprint(), ref)
    return content_of(ref.content())


def video_of(path: str) -> str | None:
    """The written path of the video that a row is a moment of; None for other rows."""
    video, colons, _ = path.rpartition("::")
    is_video = os.path.splitext(unescape(video))[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122
    return video if colons and is_video else None
