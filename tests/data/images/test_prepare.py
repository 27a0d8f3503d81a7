"""prepare, thumbnail and the perceptual hash."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.data.images import decode, decode_for, hamming, perceptual_hash, prepare, prepared, thumbnail


def photo(width: int = 160, height: int = 120, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(noise).resize((width, height), PIL.Image.Resampling.BICUBIC))


@pytest.mark.parametrize("mode", ["squash", "crop"])
def test_the_right_size_is_left_alone(mode: str) -> None:
    pixels = photo(64, 64)
    assert prepare(pixels, Preprocess(size=64, mode=mode)) is pixels


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.sampled_from(["squash", "crop"]))
def test_any_shape_becomes_the_square(width: int, height: int, size: int, mode: str) -> None:
    pixels = np.full((height, width, 3), (10, 120, 250), np.uint8)
    prepared = prepare(pixels, Preprocess(size=size, mode=mode))
    assert prepared.shape == (size, size, 3)
    assert prepared.dtype == np.uint8
    assert (prepared == (10, 120, 250)).all()  # a flat picture stays flat: no dark borders


def test_squash_keeps_the_edges_and_crop_cuts_them() -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = (0, 255, 0)  # the central square is green, the wings are black
    cropped = prepare(pixels, Preprocess(size=20, mode="crop"))
    assert (cropped[:, 2:-2] == (0, 255, 0)).all()  # the filter reaches a little beyond the square
    squashed = prepare(pixels, Preprocess(size=30, mode="squash"))
    assert (squashed[:, :9] == 0).all()
    assert (squashed[:, 21:] == 0).all()
    assert (squashed[:, 12:18] == (0, 255, 0)).all()


def test_crop_is_scaling_the_shorter_side_and_cutting_the_centre() -> None:
    pixels = photo(800, 600)
    scaled = PIL.Image.fromarray(pixels).resize((400, 300), PIL.Image.Resampling.BICUBIC)
    expected = np.asarray(scaled.crop((50, 0, 350, 300))).astype(int)
    found = prepare(pixels, Preprocess(size=300, mode="crop")).astype(int)
    assert np.abs(found - expected).max() <= 2


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    prepared = prepare(stripes, Preprocess(size=50))
    assert np.abs(prepared.astype(int) - 127).max() <= 6  # without it: black and white bands


def test_a_view_that_is_not_contiguous_is_fine() -> None:
    pixels = photo()[::-1, ::2]
    expected = prepare(np.ascontiguousarray(pixels), Preprocess(size=32))
    np.testing.assert_array_equal(prepare(pixels, Preprocess(size=32)), expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((800, 400), (256, 128)), ((100, 300), (85, 256)), ((90, 60), (90, 60)), ((3000, 30), (256, 3))],
)
def test_thumbnail_keeps_the_aspect_and_never_enlarges(size: tuple[int, int], expected: tuple[int, int]) -> None:
    data = thumbnail(photo(*size))
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.size == expected
        assert not image.getexif()
        assert "icc_profile" not in image.info


def test_thumbnail_has_one_pixel_at_least() -> None:
    assert decode(thumbnail(np.zeros((1, 90, 3), np.uint8), longest=10)).shape == (1, 10, 3)


def naive_hash(pixels: np.ndarray) -> int:
    """The same hash by the DCT formula, one coefficient at a time."""
    image = PIL.Image.fromarray(pixels)
    image = image.resize((32, 32), PIL.Image.Resampling.BILINEAR, reducing_gap=3.0).convert("L")
    grey = np.asarray(image, dtype=float)
    table = []
    for v in range(8):
        for u in range(8):
            total = 0.0
            for y in range(32):
                for x in range(32):
                    wave = np.cos(np.pi * v * (2 * y + 1) / 64) * np.cos(np.pi * u * (2 * x + 1) / 64)
                    total += grey[y, x] * wave
            scale = np.sqrt((1 if v == 0 else 2) / 32) * np.sqrt((1 if u == 0 else 2) / 32)
            table.append(total * scale)
    middle = float(np.median(table))
    return int("".join("1" if value > middle else "0" for value in table), 2)


def test_the_hash_is_the_dct_formula() -> None:
    for seed in range(2):
        assert perceptual_hash(photo(seed=seed)) == naive_hash(photo(seed=seed))


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_survives_reencoding_and_rescaling(seed: int) -> None:
    original = photo(640, 480, seed)
    expected = perceptual_hash(original)
    assert 0 <= expected < 2**64
    for quality in (30, 90):
        buffer = io.BytesIO()
        PIL.Image.fromarray(original).save(buffer, "JPEG", quality=quality)
        assert hamming(perceptual_hash(decode(buffer.getvalue())), expected) <= 4
    for size in ((64, 48), (200, 150), (1280, 960)):
        resized = np.asarray(PIL.Image.fromarray(original).resize(size, PIL.Image.Resampling.BICUBIC))
        assert hamming(perceptual_hash(resized), expected) <= 6


def test_different_pictures_have_far_hashes() -> None:
    hashes = [perceptual_hash(photo(seed=seed)) for seed in range(30)]
    distances = [hamming(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 10
    assert 26 < np.mean(distances) < 36


def test_flat_pictures_hash_alike() -> None:
    hashes = {perceptual_hash(np.full((50, 70, 3), grey, np.uint8)) for grey in (1, 77, 128, 255)}
    assert hashes == {1 << 63}


def test_hamming_by_hand() -> None:
    assert hamming(0, 0) == 0
    assert hamming(0b1011, 0b0110) == 3
    assert hamming(2**64 - 1, 0) == 64


def blocks(height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(1).integers(0, 256, (-(-height // 3), -(-width // 3), 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(3, 0).repeat(3, 1)[:height, :width])


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(224, exact=True),
        Preprocess(224, "shortest", exact=True),
        Preprocess(224, "longest", exact=True, width_first=True),
        Preprocess(224, "crop"),
    ],
    ids=lambda preprocess: preprocess.mode,
)
def test_nothing_is_resized_twice(preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 224 x 224 pixels comes out as it was decoded, and what is prepared stays as it is."""
    data = io.BytesIO()
    PIL.Image.fromarray(blocks(224, 224)).save(data, "PNG")
    once = prepare(blocks(300, 411), preprocess)
    monkeypatch.setattr(PIL.Image.Image, "resize", None)
    assert np.array_equal(prepared(data.getvalue(), preprocess), blocks(224, 224))
    assert prepare(once, preprocess) is once


def whole(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.Resampling.BICUBIC))


def test_the_shortest_side_with_a_margin_by_hand() -> None:
    pixels = blocks(30, 47)
    scaled = whole(pixels, int(40 * 47 / 30), 40)  # 62 pixels wide: 30 to cut at the sides, 8 above and below
    found = prepare(pixels, Preprocess(32, "shortest", resize=40, exact=True))
    assert np.array_equal(found, scaled[4:36, 15:47])


def test_half_an_odd_margin() -> None:
    scaled = whole(blocks(30, 33), 35, 32)
    for rounding, left in (("even", 2), ("down", 1)):  # 3 pixels to cut
        found = prepare(blocks(30, 33), Preprocess(32, "shortest", rounding=rounding, exact=True))
        assert np.array_equal(found, scaled[:, left : left + 32])


def test_the_longest_side_is_padded_and_cut() -> None:
    pixels = blocks(20, 50)
    found = prepare(pixels, Preprocess(32, "longest", fill=(1, 2, 3), exact=True))
    assert np.array_equal(found[9:22], whole(pixels, 32, 13))  # 20 * 32 / 50 = 12.8 rows, 9 above and 10 below
    assert (found[:9] == (1, 2, 3)).all()
    assert (found[22:] == (1, 2, 3)).all()
    margin = prepare(pixels, Preprocess(32, "longest", resize=40, fill=(1, 2, 3), exact=True))
    assert np.array_equal(margin[8:24], whole(pixels, 40, 16)[:, 4:36])
    assert (margin[24:] == (1, 2, 3)).all()


def test_the_width_is_resized_first_where_that_is_asked() -> None:
    pixels = blocks(90, 30)
    found = prepare(pixels, Preprocess(32, width_first=True, exact=True))
    assert np.array_equal(found, whole(whole(pixels, 32, 90), 32, 32))
    part = Preprocess(20, "crop", width_first=True, exact=True)
    narrow = PIL.Image.fromarray(whole(pixels, 20, 90))
    expected = np.asarray(narrow.resize((20, 20), PIL.Image.Resampling.BICUBIC, (0, 30, 20, 60)))
    assert np.array_equal(prepare(pixels, part), expected)


def test_a_large_jpeg_is_decoded_whole_where_it_must_be_exact() -> None:
    data = io.BytesIO()
    PIL.Image.fromarray(photo(2000, 1600)).save(data, "JPEG", quality=95)
    exact = Preprocess(64, exact=True)
    assert np.array_equal(prepared(data.getvalue(), exact), prepare(decode(data.getvalue()), exact))
    assert decode_for(data.getvalue(), exact).shape == (1600, 2000, 3)
    assert decode_for(data.getvalue(), Preprocess(64)).shape == (400, 500, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounding": "up"}, "unknown rounding 'up'; choose from down, even"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'; choose from bicubic, bilinear, box"),
        ({"mode": "shortest", "resize": 200}, "a square of 224 cannot be cut from images resized to 200 pixels"),
        ({"mode": "crop", "resize": 256}, "preprocess resize goes with squash, shortest, longest, not with crop"),
    ],
)
def test_preprocessing_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocess(**fields)
