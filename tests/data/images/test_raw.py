"""RAW files: the embedded image first, the same limits as for all others, refused by reason."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("rawpy", reason="RAW images need the [raw] extra")

from tests.raw_files import dng

from diptych.core.errors import DataError, Reason
from diptych.data.images import ImageLimits, decode, read_header, read_photo
from diptych.data.images.raw import is_raw


def test_the_embedded_image_is_read(tmp_path):
    (tmp_path / "a.dng").write_bytes(dng("red"))
    pixels = decode(tmp_path / "a.dng")
    assert pixels.shape == (24, 32, 3)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() < 8
    assert (read_header(dng("red")).width, read_header(dng("red")).height) == (32, 24)


def test_without_one_the_sensor_is_developed_at_half_its_size():
    pixels = decode(dng(None))
    assert pixels.shape == (24, 32, 3)
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    assert red > green
    assert red > blue


def test_it_is_put_upright():
    assert decode(dng("red", turned=6)).shape == (32, 24, 3)
    assert read_header(dng("red", turned=6)).upright(is_wide=False) == (24, 32)


@pytest.mark.parametrize("preview", ["red", None])
def test_what_it_says_is_read_from_itself(preview):
    said = read_photo(dng(preview)).said
    assert (said["taken"], said["camera"]) == ("2024-05-01T14:30:05", "Diptych One")


def test_an_ordinary_tiff_is_none():
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(stream, "TIFF")
    assert not is_raw(stream)
    assert decode(stream.getvalue()).shape == (8, 8, 3)
    assert is_raw(io.BytesIO(dng()))
    assert not is_raw(io.BytesIO(b"II*\0"))
    assert not is_raw(io.BytesIO(b""))


@pytest.mark.parametrize(
    ("data", "limits", "reason"),
    [
        (dng()[:600], ImageLimits(), None),
        (dng(None)[:-4000], ImageLimits(), None),
        (b"FUJIFILMCCD-RAW" + b"\0" * 200, ImageLimits(), Reason.MALFORMED),
        (dng()[:8] + b"\xff" * 400, ImageLimits(), None),
        (dng(), ImageLimits(max_bytes=1000), Reason.TOO_LARGE),
        (dng(), ImageLimits(max_pixels=64 * 48 - 1), Reason.TOO_LARGE),
        (dng(preview_size=(1000, 2)), ImageLimits(), Reason.BAD_ASPECT),
    ],
)
def test_what_cannot_be_read_is_refused_by_reason(data, limits, reason):
    with pytest.raises(DataError) as refused:
        decode(data, limits)
    assert refused.value.reason in ([reason] if reason else [Reason.TRUNCATED, Reason.MALFORMED, Reason.NOT_AN_IMAGE])
    assert "\n" not in str(refused.value)
