from __future__ import annotations

import math

import numpy as np
import pytest

from diptych.data.sounds import BANDS, log_mel, to_levels
from diptych.data.sounds.log_mel import frames_of, mel_filters, samples_of, to_mel

from ...sounds import tone

STEP = 2595 * math.log10(1 + 8000 / 700) / 65  # mels between the middles of two bands


def slow(samples) -> np.ndarray:
    """The definition, one sum after the other."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    frames = []
    for start in range(0, len(samples) - 399, 160):
        powers = []
        for k in range(257):
            turns = np.exp(-2j * math.pi * k * np.arange(400) / 512)
            powers.append(abs(sum(samples[start : start + 400] * window * turns)) ** 2 / 100**2)
        bands = []
        for band in range(1, 65):
            weights = [
                max(0.0, 1 - abs(2595 * math.log10(1 + k * 31.25 / 700) - band * STEP) / STEP) for k in range(257)
            ]
            bands.append(10 * math.log10(max(1e-10, sum(w * p for w, p in zip(weights, powers, strict=True)))))
        frames.append(bands)
    return np.array(frames)


def test_is_what_the_definition_says():
    samples = np.random.default_rng(0).uniform(-1, 1, 750)
    assert log_mel(samples).shape == (3, BANDS) == (frames_of(750), 64)
    np.testing.assert_allclose(log_mel(samples), slow(samples), atol=1e-8)


@pytest.mark.parametrize("hertz", [220, 440, 1000, 3000, 7000])
def test_a_tone_is_loudest_in_its_band(hertz):
    found = log_mel(tone(hertz, 0.5, loud=1.0)).mean(axis=0)
    assert found.argmax() == round(float(to_mel(hertz)) / STEP) - 1
    assert -1 < found.max() < 3  # a sine of full scale has 0 dB at its frequency; its lobe adds a little


def test_half_as_loud_is_six_decibels_less():
    loud, quiet = (log_mel(tone(1000, 0.1, loud=loud)) for loud in (1.0, 0.5))
    assert (loud - quiet)[0, 22] == pytest.approx(20 * math.log10(2))


def test_the_bands_hold_the_energy_of_the_sound():
    """Parseval: the sum over all frequencies is the sum of the squares under the window."""
    samples = tone(1000, 0.025)
    window = np.hanning(401)[:-1]
    assert (10 ** (log_mel(samples) / 10)).sum() == pytest.approx(
        256 / 100**2 * ((samples * window) ** 2).sum(), rel=1e-3
    )


def test_every_band_hears_something():
    assert (mel_filters().sum(axis=1) > 0).all()


def test_short_and_silent_sounds():
    assert log_mel(np.zeros(10)).tolist() == [[-100.0] * 64]
    assert [frames_of(count) for count in (0, 400, 559, 560)] == [1, 1, 1, 2]
    assert frames_of(samples_of(7)) == 7


def test_levels():
    assert to_levels(np.array([[-120.0, -100, -50, 0, 3]])).tolist() == [[1, 1, 128, 255, 255]]
