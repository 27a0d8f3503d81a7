"""Streaming: order, bad files, look-ahead, and what runs beside the decoding."""

from __future__ import annotations

import io
import itertools
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from diptych.core.errors import ConfigError, Reason
from diptych.core.protocols import Preprocess
from diptych.data.images import ImageLimits, decode, prepare, prepared, stream, thumbnail

SQUASH = Preprocess(size=16)


def jpeg(seed: int, width: int = 40, height: int = 30) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def mixed(count: int) -> list[bytes]:
    """Every third one is cut, and every one has another size, so that they finish out of order."""
    good = [jpeg(n, 40 + 97 * n % 500, 30 + 61 * n % 500) for n in range(count)]
    return [data[: len(data) // 2] if n % 3 == 2 else data for n, data in enumerate(good)]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_the_stream_is_the_plain_loop(workers: int, batch_size: int) -> None:
    sources = mixed(20)
    batches = list(stream(sources, SQUASH, batch_size=batch_size, workers=workers))
    assert [len(b.indices) + len(b.skipped) for b in batches] == [
        min(batch_size, 20 - start) for start in range(0, 20, batch_size)
    ]
    indices = [index for batch in batches for index in batch.indices]
    assert indices == [n for n in range(20) if n % 3 != 2]
    pixels = np.concatenate([batch.pixels for batch in batches])
    for index, found in zip(indices, pixels, strict=True):
        np.testing.assert_array_equal(found, prepared(sources[index], SQUASH))
    skipped = [(index, bad.reason) for batch in batches for index, bad in batch.skipped]
    assert skipped == [(n, Reason.TRUNCATED) for n in range(20) if n % 3 == 2]


def test_a_skipped_file_is_named_and_explained(tmp_path: Path) -> None:
    page = tmp_path / "page.jpg"
    page.write_bytes(b"<html>")
    (batch,) = stream([page, tmp_path / "gone.jpg"], SQUASH)
    assert batch.indices == []
    assert batch.pixels.shape == (0, 16, 16, 3)
    (first, bad), (second, gone) = batch.skipped
    assert (first, bad.name, bad.reason) == (0, str(page), Reason.NOT_AN_IMAGE)
    assert "not an image" in bad.detail
    assert (second, gone.reason) == (1, Reason.MISSING)


def test_nothing_in_nothing_out() -> None:
    assert list(stream([], SQUASH)) == []


def test_also_sees_the_decoded_pixels() -> None:
    sources = [jpeg(n, 90, 60) for n in range(5)] + [b"bad"]
    (batch,) = stream(sources, SQUASH, also=lambda pixels: (pixels.shape, thumbnail(pixels, 32)))
    assert [shape for shape, _ in batch.extras] == [(60, 90, 3)] * 5
    assert batch.extras[3][1] == thumbnail(decode(sources[3]), 32)
    (plain,) = stream(sources, SQUASH)
    assert plain.extras == [None] * 5


def test_large_jpegs_are_decoded_small_enough_for_both() -> None:
    seen: list[tuple[int, ...]] = []
    next(iter(stream([jpeg(0, 2400, 2000)], SQUASH, also=lambda pixels: seen.append(pixels.shape))))
    assert 256 <= min(seen[0][:2]) < 600


def test_a_reduced_jpeg_gives_nearly_the_pixels_of_a_whole_one() -> None:
    data = jpeg(0, 1600, 1200)
    (batch,) = stream([data], SQUASH)
    whole = prepare(decode(data), SQUASH).astype(int)
    assert np.abs(batch.pixels[0].astype(int) - whole).max() <= 4


def test_an_error_of_also_comes_through() -> None:
    def broken(pixels: np.ndarray) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(stream([jpeg(0)], SQUASH, also=broken))


def test_limits_reach_the_decoder() -> None:
    (batch,) = stream([jpeg(0, 40, 30)], SQUASH, limits=ImageLimits(max_pixels=1000))
    assert batch.skipped[0][1].reason is Reason.TOO_LARGE


def test_the_look_ahead_is_bounded_and_the_input_may_be_endless() -> None:
    data = jpeg(0)
    last = 0

    def endless() -> object:
        nonlocal last
        for number in itertools.count():
            last = number
            yield data

    batches = stream(endless(), SQUASH, batch_size=4)  # type: ignore[arg-type]
    first = next(batches)
    assert first.indices == [0, 1, 2, 3]
    assert last < 4 * 4
    next(batches)
    assert last < 5 * 4
    batches.close()  # type: ignore[attr-defined]


def test_closing_stops_the_workers() -> None:
    before = threading.active_count()
    batches = stream([jpeg(n) for n in range(100)], SQUASH, batch_size=8, workers=3)
    next(batches)
    assert threading.active_count() > before
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_decoding_goes_on_while_the_consumer_works() -> None:
    """With a wait of 50 ms on both sides, overlap takes about half of the time that taking turns would."""

    def slow(pixels: np.ndarray) -> None:
        time.sleep(0.05)

    started = time.perf_counter()
    for _ in stream([jpeg(0)] * 8, SQUASH, batch_size=1, workers=1, also=slow):
        time.sleep(0.05)
    assert time.perf_counter() - started < 0.7  # one after the other: 0.8


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 1), (1, 0)])
def test_a_batch_and_a_worker_at_least(batch_size: int, workers: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        stream([], SQUASH, batch_size=batch_size, workers=workers)
