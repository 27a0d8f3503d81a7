"""Videos: a few frames of each part of a file, read within limits however long or broken the file is.

`VideoImage` is a part of a video as an image reference, so that videos are records like images;
`read_moments` cuts a whole video into parts, as indexing does.
"""

from __future__ import annotations

from .frames import (
    SUFFIXES,
    Moment,
    MomentPlan,
    VideoImage,
    VideoLimits,
    evenly,
    moments_of,
    probe,
    read_moments,
)

__all__ = [
    "SUFFIXES",
    "Moment",
    "MomentPlan",
    "VideoImage",
    "VideoLimits",
    "evenly",
    "moments_of",
    "probe",
    "read_moments",
]
