"""Videos: a few frames of each moment, read within limits however long or broken the file is."""

from __future__ import annotations

from .frames import SUFFIXES, Moment, MomentPlan, VideoLimits, probe, read_moments

__all__ = ["SUFFIXES", "Moment", "MomentPlan", "VideoLimits", "probe", "read_moments"]
