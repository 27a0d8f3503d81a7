"""prepare, thumbnail and the perceptual hash."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.protocols import Preprocess
from diptych.data.images import decode, hamming, perceptual_hash, prepare, thumbnail


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
