"""A file of sound as its spectrogram, or a DataError that says why not. The only module that imports soundfile."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from diptych.core.errors import DataError, Reason, first_line
from diptych.core.extras import need
from diptych.core.shapes import Float32, UInt8
from diptych.data.image_inputs import SOUND_SUFFIXES

from .log_mel import RATE, frames_of, log_mel, samples_of, to_levels

_WHAT = "reading sounds"


def is_sound(head: bytes, name: str) -> bool:
    """Whether a file is meant for a sound: by its first bytes, or by the suffix of its name."""
    if head.startswith((b"fLaC", b"OggS", b"ID3")) or PurePath(name).suffix.lower() in SOUND_SUFFIXES:
        return True
    return (head[:4], head[8:12]) in ((b"RIFF", b"WAVE"), (b"FORM", b"AIFF"), (b"FORM", b"AIFC"))


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """What a file's header says."""

    seconds: float
    frames: int  # of its spectrogram


def probe(data: bytes, name: str) -> SoundFacts:
    """Length of a sound, by its header. Raises DataError(not_a_sound or malformed) as `spectrogram` does."""
    with _opened(data, name) as file:
        seconds = file.frames / file.samplerate
        return SoundFacts(seconds, frames_of(round(seconds * RATE)))


def spectrogram(data: bytes, name: str, most: int) -> UInt8[np.ndarray, "bands frames 3"]:
    """The first `most` frames (10 ms each) of a sound's log-mel spectrogram, as a grey image.

    The mean of all channels, at 16 kHz. Time goes from left to right, the highest band is the first row; levels are
    those of `to_levels`. Raises DataError: not_a_sound, or malformed for one that is damaged or empty.
    """
    levels = to_levels(log_mel(_samples(data, name, samples_of(most))))[:most]
    return np.ascontiguousarray(np.repeat(levels.T[::-1, :, np.newaxis], 3, axis=2))


def _samples(data: bytes, name: str, most: int) -> Float32[np.ndarray, " n"]:
    """The first `most` samples at 16 kHz."""
    with _opened(data, name) as file:
        rate = file.samplerate
        try:
            channels = file.read(-(-most * rate // RATE) + rate // 10, dtype="float32", always_2d=True)
        except (RuntimeError, ValueError) as error:
            raise _refused(name, f"is damaged ({first_line(error)})", Reason.MALFORMED) from error
    if not len(channels):
        raise _refused(name, "has no samples", Reason.MALFORMED)
    samples = np.nan_to_num(channels.mean(axis=1), nan=0.0, posinf=1.0, neginf=-1.0)
    if rate != RATE:
        samples = need("soxr", _WHAT).resample(samples, rate, RATE)
    return np.asarray(samples[:most], dtype=np.float32)


@contextlib.contextmanager
def _opened(data: bytes, name: str) -> Iterator[Any]:
    library = need("soundfile", _WHAT)
    try:
        file = library.SoundFile(io.BytesIO(data))
    except (RuntimeError, TypeError, ValueError) as error:  # TypeError: raw samples, which say no rate
        from diptych.data.images.formats import HEAD, describe_bytes

        said = f"is no sound that can be read: {describe_bytes(data[:HEAD])}"
        raise _refused(name, said, Reason.NOT_A_SOUND) from error
    with file:
        if file.samplerate < 1 or file.frames < 0:
            raise _refused(name, "states no length", Reason.MALFORMED)
        yield file


def _refused(name: str, what: str, reason: Reason) -> DataError:
    return DataError(f"{name} {what}; expected WAV, FLAC, Ogg or MP3", reason)
