from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import ConfigError
from diptych.data.features import CachedRows
from diptych.encoders.inputs import grey_pixels
from diptych.encoders.sound import LogMelTower, cut_note


def test_rows_are_frames_from_low_to_high():
    tower = LogMelTower(seconds=0.2)
    pixels = np.zeros((1, 64, 20, 3), dtype=np.uint8)
    pixels[0, 63, 3] = 7  # the lowest band, at 30 ms
    pixels[0, 0, 4] = 9  # the highest, at 40 ms
    rows = tower.embed(pixels)
    assert (tower.dim, rows.shape) == (1280, (1, 1280))
    assert {int(place): int(rows[0, place]) for place in rows[0].nonzero()[0]} == {3 * 64: 7, 4 * 64 + 63: 9}
    assert tower.embed(grey_pixels(tower.preprocess)).min() == 127


def test_other_lengths_are_other_towers():
    assert LogMelTower(1.0).fingerprint != LogMelTower(2.0).fingerprint
    for seconds in (0.0, 61.0):
        with pytest.raises(ConfigError, match="must be from"):
            LogMelTower(seconds)


def test_those_that_fill_their_row_are_counted():
    tower, rows = LogMelTower(0.2), np.zeros((3, 1280), dtype=np.uint8)
    rows[0, :100], rows[1] = 5, 5
    (note,) = cut_note(CachedRows(rows, np.array([0, 1, 1, 2])), tower)
    assert (note.kind, note.count) == ("sound_cut", 2)
    assert "the 0.2 s which the model reads" in note.detail
    assert cut_note(CachedRows(rows, np.array([0, 2])), tower) == ()
