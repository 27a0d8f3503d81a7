"""The log-mel spectrogram: how loud a sound is in each band of frequencies, a hundred times a second."""

from __future__ import annotations

import functools

import numpy as np

from diptych.core.protocols import SOUND_BANDS
from diptych.core.shapes import Float, Float64, UInt8

BANDS = SOUND_BANDS
RATE = 16_000  # samples a second
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms
FRAMES_A_SECOND = RATE // HOP
_SIZE = 512  # points of the Fourier transform; the window is padded with zeros
_QUIETEST = -100.0  # decibels; what is quieter counts as this
LEVELS = 254  # from the quietest, 1, to full scale, 255; 0 stands for no sound at all


def frames_of(samples: int) -> int:
    """How many frames so many samples have: one where they are fewer than a window."""
    return 1 + max(0, samples - WINDOW) // HOP


def samples_of(frames: int) -> int:
    """How many samples so many frames reach over."""
    return WINDOW + (frames - 1) * HOP


def log_mel(samples: Float[np.ndarray, " n"]) -> Float64[np.ndarray, "frames bands"]:
    """Decibels of each of 64 bands, below a sine of full scale, which has 0; at least -100.

    Args:
        samples: at 16 kHz, in [-1, 1]. A sound shorter than 25 ms is padded with zeros.

    Frames are 25 ms long under a Hann window, and start every 10 ms; what is left after the last whole one is not
    read. Bands are triangles of equal width on the mel scale 2595 log10(1 + f / 700), from 0 to 8,000 Hz.
    """
    samples = np.asarray(samples, dtype=np.float64)
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    window = np.hanning(WINDOW + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * window
    power = np.abs(np.fft.rfft(frames, _SIZE)) ** 2 / (window.sum() / 2) ** 2
    return np.asarray(10 * np.log10(np.maximum(power @ mel_filters().T, 10 ** (_QUIETEST / 10))))


@functools.cache
def mel_filters() -> Float64[np.ndarray, "bands bins"]:
    """The weight of each frequency of the transform in each band: 1 at the band's middle, 0 at its neighbours'."""
    mels = to_mel(np.linspace(0, RATE / 2, _SIZE // 2 + 1))
    step = to_mel(RATE / 2) / (BANDS + 1)
    middles = step * np.arange(1, BANDS + 1)
    return np.asarray(np.maximum(0.0, 1 - np.abs(mels[np.newaxis] - middles[:, np.newaxis]) / step))


def to_mel(hertz: float | Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "*n"]:
    """Hertz on the mel scale."""
    return np.asarray(2595 * np.log10(1 + np.asarray(hertz, dtype=np.float64) / 700))


def to_levels(decibels: Float[np.ndarray, "frames bands"]) -> UInt8[np.ndarray, "frames bands"]:
    """Decibels as bytes, 0.4 dB apart: 1 for -100 dB and less, 255 for 0 dB and more. None is 0."""
    share = np.clip((decibels - _QUIETEST) / -_QUIETEST, 0, 1)
    return np.asarray(1 + np.rint(share * LEVELS), dtype=np.uint8)
