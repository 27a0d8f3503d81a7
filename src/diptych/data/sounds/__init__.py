"""Sounds: any file that libsndfile reads (WAV, FLAC, Ogg, MP3) as a log-mel spectrogram of a fixed scale.

`decode.py` reads a file as samples of 16 kHz, and is the only module that imports soundfile and soxr (the extra
`[sound]`); `log_mel.py` makes the spectrogram, with NumPy alone. A spectrogram is a grey image, time from left to right
and high above low, so that what takes an image takes a sound: streams, caches, libraries, thumbnails.
"""

from __future__ import annotations

from .decode import SoundFacts, is_sound, probe, spectrogram
from .log_mel import BANDS, FRAMES_A_SECOND, RATE, log_mel, to_levels

__all__ = [
    "BANDS",
    "FRAMES_A_SECOND",
    "RATE",
    "SoundFacts",
    "is_sound",
    "log_mel",
    "probe",
    "spectrogram",
    "to_levels",
]
