"""The kinds of rows of a library: images, moments of videos, texts."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.file_names import unescape
from diptych.data.video import SUFFIXES as VIDEO_SUFFIXES
from diptych.data.video import VideoImage
from diptych.library.store.protocol import Store, values

TEXT_SOURCE = "texts:"  # how the source of a text's row begins, so that indexing images of that file leaves it alone


def holds_texts(store: Store) -> bool:
    """Whether the rows are texts. A library has rows of one kind, so the first row says."""
    return next(values(store, "source"), "").startswith(TEXT_SOURCE)


def moment_of(name: str) -> VideoImage:
    """The moment of a video that a row's path, unescaped, names: "beach.mp4::12.500-17.500"."""
    video, _, part = name.rpartition("::")
    start, _, end = part.partition("-")
    return VideoImage(Path(video), float(start), float(end))


def content_of_moment(file: str, moment: VideoImage) -> str:
    """What the row of a moment is known by: the fingerprint of its video's file, and the part in seconds."""
    return fingerprint.combined([file, moment.name.rpartition("::")[2]])


def video_of(path: str) -> str | None:
    """The written path of the video that a row is a moment of; None for other rows."""
    video, colons, _ = path.rpartition("::")
    is_video = os.path.splitext(unescape(video))[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122
    return video if colons and is_video else None
