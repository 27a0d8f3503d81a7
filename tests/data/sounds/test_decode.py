from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="needs the [sound] extra")

import soundfile

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.types import BytesImage
from diptych.data.images import beginning_for, decode_for, prepare, stream
from diptych.data.sounds import is_sound, log_mel, probe, spectrogram, to_levels

from ...sounds import tone

SOUND = Preprocess(50, "sound", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def encoded(samples, rate: int = 16_000, format: str = "WAV", subtype: str | None = None) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, samples, rate, format=format, subtype=subtype)
    return held.getvalue()


def test_drawn_with_high_above_low():
    samples = tone(1000, 0.2)
    found = spectrogram(encoded(samples, subtype="DOUBLE"), "a.wav", 1000)
    assert found.shape == (64, 18, 3)
    np.testing.assert_array_equal(found[::-1, :, 1].T, to_levels(log_mel(samples.astype(np.float32))))


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3"])
def test_other_formats_sound_the_same(format):
    samples = tone(1000, 0.5)
    found, wav = (spectrogram(encoded(samples, format=each), "a", 40).astype(int) for each in (format, "WAV"))
    assert found.shape == wav.shape
    assert np.abs(found - wav)[41, 5:-5].max() <= 3  # in the tone's band; 3 levels are 1.2 dB


def test_other_rates_and_channels():
    left = tone(1000, 0.5, rate=44_100)
    found = spectrogram(encoded(np.stack([left, left], axis=1), 44_100), "a", 40).astype(int)
    wanted = spectrogram(encoded(tone(1000, 0.5)), "a", 40).astype(int)
    assert np.abs(found - wanted)[38:45, 2:-2].max() <= 2


def test_only_the_first_frames_are_read_and_short_ones_padded():
    data = BytesImage(encoded(tone(1000, 2.0)), "a.wav")
    assert probe(data.data, "a.wav").seconds == 2.0
    assert beginning_for(data, SOUND)[0].width == 198
    assert decode_for(data, SOUND).shape == (64, 50, 3)
    short = prepare(decode_for(BytesImage(encoded(tone(1000, 0.1))), SOUND), SOUND)
    assert short.shape == SOUND.shape
    assert (short[:, :8] > 0).all()
    assert not short[:, 8:].any()


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"hello, no sound", Reason.NOT_A_SOUND, "a.wav is no sound that can be read: it holds text; expected WAV"),
        (b"", Reason.NOT_A_SOUND, "it is empty"),
        (b"\x89PNG\r\n\x1a\n", Reason.NOT_A_SOUND, "is no sound"),
        (encoded(np.zeros(0)), Reason.MALFORMED, "has no samples"),
    ],
)
def test_what_is_no_sound_says_so(data, reason, said):
    with pytest.raises(DataError, match=said) as caught:
        decode_for(BytesImage(data, "a.wav"), SOUND)
    assert caught.value.reason is reason


def test_a_damaged_file_is_refused():
    whole = encoded(tone(1000, 0.5), format="FLAC")
    with pytest.raises(DataError, match="expected WAV, FLAC, Ogg or MP3"):
        spectrogram(whole[:60] + bytes(100), "a.flac", 50)


def test_samples_that_are_no_numbers_are_silent():
    samples = tone(1000, 0.1)
    samples[::7] = np.nan
    assert spectrogram(encoded(samples, subtype="DOUBLE"), "a", 50).min() >= 1


def test_a_bad_file_in_a_stream_is_skipped():
    refs = [BytesImage(encoded(tone(440, 0.3)), "a"), BytesImage(b"no", "b"), BytesImage(encoded(tone(880, 0.3)), "c")]
    (batch,) = stream(refs, SOUND)
    assert (batch.indices, batch.pixels.shape) == ([0, 2], (2, 64, 50, 3))
    assert [(place, one.reason) for place, one in batch.skipped] == [(1, Reason.NOT_A_SOUND)]


def test_an_image_model_refuses_sounds():
    with pytest.raises(DataError, match="is not an image: it holds sound"):
        decode_for(BytesImage(encoded(tone(440, 0.3)), "a.wav"), Preprocess(32))


def test_told_by_bytes_or_name():
    assert all(is_sound(encoded(tone(440, 0.1), format=each)[:16], "a") for each in ("WAV", "FLAC", "OGG", "AIFF"))
    assert is_sound(b"\xff\xfb", "a.MP3")
    assert not is_sound(b"\xff\xd8\xff\xe0", "a.jpg")
