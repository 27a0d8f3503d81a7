"""The table "what is accepted, and what bad ones get": one test a row, with the bad files made here."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageFile, ImageOps

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import BytesImage, FileImage, TarImage
from diptych.data.images import ImageLimits, decode, read_size, thumbnail

ORIENTATION = 0x0112


def photo(width: int = 160, height: int = 120, seed: int = 0) -> PIL.Image.Image:
    """Smooth coloured noise, different in every corner: compresses like a photo, and no turn goes unseen."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise).resize((width, height), PIL.Image.Resampling.BICUBIC)


def encoded(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason_for(source: object, limits: ImageLimits | None = None) -> Reason:
    with pytest.raises(DataError) as caught:
        decode(source, limits or ImageLimits())  # type: ignore[arg-type]
    assert str(caught.value)
    return caught.value.reason


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(left.astype(float) - right.astype(float)).mean())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(
    width: int,
    height: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
    bits: int = 1,
    compressed: bytes | None = None,
) -> bytes:
    """A black grey PNG, written without ever holding its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    if compressed is None:
        packer, row = zlib.compressobj(9), bytes(1 + (width * bits + 7) // 8)
        compressed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", compressed)
        + after
        + chunk(b"IEND", b"")
    )


# --- formats


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_comes_out_as_the_picture_that_went_in(kind: str) -> None:
    if kind == "AVIF":
        pytest.importorskip("PIL._avif")
    image = photo()
    pixels = decode(encoded(image, kind))
    assert pixels.shape == (120, 160, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert difference(pixels, np.asarray(image)) < (10 if kind == "GIF" else 3)  # GIF has 256 colours


def test_the_fast_jpeg_path_gives_the_pixels_that_pillow_gives() -> None:
    data = encoded(photo(333, 217), "JPEG", quality=90)
    with PIL.Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_grey_and_progressive_jpegs(mode: str, progressive: bool) -> None:
    image = photo().convert(mode)
    pixels = decode(encoded(image, "JPEG", quality=92, progressive=progressive))
    assert difference(pixels, np.asarray(image.convert("RGB"))) < 3


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "TGA", "ICO", "PCX", "SGI"])
def test_other_formats_of_pillow_are_never_tried(kind: str) -> None:
    assert reason_for(encoded(photo(64, 64), kind)) is Reason.NOT_AN_IMAGE


# --- not an image


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7\n",
        b"SIMPLE  =                    T / FITS\n".ljust(2880),
        b"BMW is a maker of cars, and this is a text about it, not a bitmap.",
        b"just a text",
        b"\0" * 100,
    ],
    ids=["0 bytes", "1 byte", "html", "svg", "eps", "pdf", "fits", "text like bmp", "text", "zeros"],
)
def test_other_things_renamed_jpg_are_not_an_image(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    assert reason_for(path) is Reason.NOT_AN_IMAGE
    with pytest.raises(DataError, match=r"photo\.jpg is not an image"):
        read_size(path)


# --- truncated


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("AVIF", {}),
    ],
)
def test_a_cut_file_is_truncated(kind: str, options: dict[str, bool], share: float) -> None:
    if kind == "AVIF":
        pytest.importorskip("PIL._avif")
    data = encoded(photo(), kind, **options)
    assert reason_for(data[: int(len(data) * share)]) is Reason.TRUNCATED


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_a_cut_tiff_is_refused(compression: str) -> None:
    data = encoded(photo(), "TIFF", compression=compression)
    # the directory is at the end or at the start, so a cut one may not even open
    assert reason_for(data[: len(data) // 2]) in (Reason.TRUNCATED, Reason.MALFORMED)


def test_verify_would_have_passed_the_cut_jpeg() -> None:
    """Why we decode fully."""
    data = encoded(photo(), "JPEG")
    cut = data[: len(data) // 2]
    with PIL.Image.open(io.BytesIO(cut)) as image:
        image.verify()
    assert reason_for(cut) is Reason.TRUNCATED


def test_a_cut_jpeg_that_ends_with_an_end_marker_is_truncated_too() -> None:
    data = encoded(photo(), "JPEG")
    patched = data[: len(data) // 2] + b"\xff\xd9"
    with PIL.Image.open(io.BytesIO(patched)) as image:
        image.load()  # Pillow alone makes up the rest
    assert reason_for(patched) is Reason.TRUNCATED


def test_a_cut_cmyk_jpeg_is_truncated() -> None:
    data = encoded(photo().convert("CMYK"), "JPEG")
    assert reason_for(data[: len(data) // 2]) is Reason.TRUNCATED


def test_bytes_after_the_end_do_no_harm() -> None:
    data = encoded(photo(), "JPEG")
    np.testing.assert_array_equal(decode(data + b"\0" * 1000), decode(data))


@pytest.mark.parametrize("kind", [b"IHDR", b"tIME"])
def test_a_png_with_a_bad_checksum_is_truncated(kind: bytes) -> None:
    data = bytearray(png_of(64, 64, before=chunk(b"tIME", b"\x07\xe8\1\1\1\1\1")))
    at = bytes(data).index(kind)
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length] ^= 0xFF
    assert reason_for(bytes(data)) is Reason.TRUNCATED


@pytest.mark.parametrize("damage", [b"\xff" * 8, b"\0" * 8, b"<script>"])
def test_a_png_with_damaged_pixels_is_truncated(damage: bytes) -> None:
    data = encoded(photo(), "PNG")
    middle = len(data) // 2
    assert reason_for(data[:middle] + damage + data[middle + 8 :]) is Reason.TRUNCATED


# --- too large


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (13_310, 13_310), (9_000, 9_000)])
def test_a_decompression_bomb_is_refused_from_its_header(width: int, height: int) -> None:
    data = png_of(width, height)
    assert len(data) < 60_000
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # and without a warning on stderr
            assert reason_for(data) is Reason.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 0.5
    with pytest.raises(DataError, match="megapixels") as caught:
        read_size(data)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_the_pixel_limit_holds_for_every_format(kind: str) -> None:
    data = encoded(photo(100, 100), kind)
    assert decode(data, ImageLimits(max_pixels=10_000)).shape == (100, 100, 3)
    assert reason_for(data, ImageLimits(max_pixels=9_999)) is Reason.TOO_LARGE


def test_the_limit_can_be_raised_beyond_pillows_own() -> None:
    data = png_of(14_000, 13_000)  # 182 megapixels: PIL.Image.open raises DecompressionBombError
    assert read_size(data, ImageLimits(max_pixels=200_000_000)) == (14_000, 13_000)


def test_a_huge_tile_behind_a_small_tiff_is_too_large() -> None:
    # width, length, bits, deflate, black is zero, samples; then tile width, length, offset and bytes
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 200, 325: 40}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    data = head.ljust(200, b"\0") + zlib.compress(bytes(1000)).ljust(40, b"\0")
    assert reason_for(data) is Reason.TOO_LARGE


def test_too_many_bytes(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    path = tmp_path / "large.png"
    path.write_bytes(data)
    exact, short = ImageLimits(max_bytes=len(data)), ImageLimits(max_bytes=len(data) - 1)
    for source in (data, path, BytesImage(data), TarImage(path, "m", 0, len(data))):
        assert decode(source, exact).shape == (120, 160, 3)
        assert reason_for(source, short) is Reason.TOO_LARGE


def test_a_file_that_grows_or_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as stream:
        stream.truncate(10**12)
    assert reason_for(path) is Reason.TOO_LARGE


# --- malformed, and animations


def test_a_png_text_bomb_is_malformed() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    assert len(bomb) < 200_000
    for data in (png_of(32, 32, before=bomb), png_of(32, 32, after=bomb)):
        started = time.perf_counter()
        assert reason_for(data) is Reason.MALFORMED
        assert time.perf_counter() - started < 1


def gif_of(frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + bytes([200, 30, 60, 0, 0, 0])
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00" + b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0)
    first = frame + b"\x02\x03\x04\x10\x05\x00"  # four pixels of colour 0
    return head + first * frames + b";"


def apng_of(frames: int) -> bytes:
    pixels = zlib.compress(b"\0\xc8\x1e\x3c" * 1)

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 1, 1, 0, 0, 1, 100, 0, 0))

    later = b"".join(control(2 * n - 1) + chunk(b"fdAT", struct.pack(">I", 2 * n) + pixels) for n in range(1, frames))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
        + chunk(b"acTL", struct.pack(">II", frames, 0))
        + control(0)
        + chunk(b"IDAT", pixels)
        + later
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("make", [gif_of, apng_of])
def test_five_thousand_frames_give_the_first_one_at_once(make: object) -> None:
    data = make(5000)  # type: ignore[operator]
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 5000  # type: ignore[attr-defined]
    started = time.perf_counter()
    pixels = decode(data)
    assert time.perf_counter() - started < 1
    assert tuple(pixels[0, 0]) == (200, 30, 60)


def test_a_jpeg_of_endless_scans_is_malformed() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    assert reason_for(data[:-2] + data[scan:-2] * 300 + b"\xff\xd9") is Reason.MALFORMED


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=20),
    cut=st.floats(0.02, 1),
)
def test_random_damage_gives_pixels_or_a_data_error(kind: str, edits: list[tuple[int, int]], cut: float) -> None:
    data = bytearray(encoded(photo(24, 16), kind))
    for at, value in edits:
        data[at % len(data)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        try:
            pixels = decode(bytes(data[: int(len(data) * cut)]), ImageLimits(max_pixels=10**6))
        except DataError as error:
            assert error.reason in Reason  # noqa: PT017 - either outcome is right
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3


# --- size and shape


def test_one_pixel_is_a_picture() -> None:
    pixels = decode(encoded(PIL.Image.new("RGB", (1, 1), (10, 20, 30)), "PNG"))
    assert pixels.tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1)])
def test_a_thread_of_pixels_has_a_bad_aspect(size: tuple[int, int]) -> None:
    image = PIL.Image.new("RGB", size)
    assert reason_for(encoded(image, "JPEG")) is Reason.BAD_ASPECT
    assert reason_for(image) is Reason.BAD_ASPECT
    assert reason_for(np.asarray(image)) is Reason.BAD_ASPECT


def test_the_aspect_limit_is_inclusive() -> None:
    assert decode(np.zeros((1, 100, 3), np.uint8)).shape == (1, 100, 3)
    assert reason_for(np.zeros((1, 101, 3), np.uint8)) is Reason.BAD_ASPECT
    assert reason_for(np.zeros((101, 1, 3), np.uint8)) is Reason.BAD_ASPECT


def test_limits_below_one_are_a_config_error() -> None:
    for limits in ({"max_bytes": 0}, {"max_pixels": 0}, {"max_aspect": 0.5}, {"max_aspect": float("nan")}):
        with pytest.raises(ConfigError, match="at least 1"):
            ImageLimits(**limits)  # type: ignore[arg-type]


def test_read_size_reads_the_header_only() -> None:
    data = encoded(photo(300, 200), "JPEG")
    assert read_size(data) == (300, 200)
    assert read_size(data[: len(data) // 2]) == (300, 200)
    assert read_size(photo(30, 20)) == (30, 20)
    assert read_size(np.zeros((20, 30, 3), np.uint8)) == (30, 20)


# --- deep grey


DEEP = np.array([[0, 257 * 100, 59000, 60000, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_shown_as_viewers_show_it(kind: str) -> None:
    assert decode(encoded(PIL.Image.fromarray(DEEP), kind))[0, :, 0].tolist() == [0, 100, 230, 233, 255]
    white = np.full((3, 3), 65535, dtype=np.uint16)
    assert decode(encoded(PIL.Image.fromarray(white), kind)).min() == 255
    assert decode(white).min() == 255
    near = np.array([[59000, 60000]], dtype=np.uint16)
    assert decode(encoded(PIL.Image.fromarray(near), kind))[0, :, 1].tolist() == [230, 233]


def png16(colour: int, samples: list[int], transparent: list[int] | None = None) -> bytes:
    """One row of 16-bit samples, of PNG colour type `colour`."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(samples) // channels, 1, 16, colour, 0, 0, 0)
    extra = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    body = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(f">{len(samples)}H", *samples)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def test_sixteen_bit_colour_and_alpha_in_png() -> None:
    assert decode(png16(2, [65535, 59110, 0, 0, 257, 65535]))[0].tolist() == [[255, 230, 0], [0, 1, 255]]
    assert decode(png16(6, [0, 0, 0, 0, 0, 59110, 0, 65535]))[0].tolist() == [[255, 255, 255], [0, 230, 0]]
    assert decode(png16(4, [59110, 65535, 0, 0]))[0, :, 0].tolist() == [230, 255]
    assert decode(png16(0, [59110, 0], [0]))[0, :, 0].tolist() == [230, 255]
    clear = decode(png16(2, [59110, 300, 0, 0, 0, 0], [59110, 300, 0]))
    assert clear[0].tolist() == [[255, 255, 255], [0, 0, 0]]


def tiff_row(bits: int, photometric: int, sample_format: int, data: bytes) -> bytes:
    """A TIFF of two grey pixels."""
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 134), (277, 1), (278, 1)]
    tags += [(279, len(data)), (339, sample_format)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags) + b"\0\0\0\0" + data


@pytest.mark.parametrize(
    ("bits", "photometric", "sample_format", "data", "grey"),
    [
        (16, 1, 1, struct.pack("<2H", 0, 59110), [0, 230]),
        (16, 0, 1, struct.pack("<2H", 0, 65535), [255, 0]),  # white is zero
        (12, 1, 1, b"\xff\xf0\x00", [255, 0]),
        (16, 1, 2, struct.pack("<2h", -5, 3000), [0, 255]),
        (32, 1, 1, struct.pack("<2I", 5, 4_000_000_000), [0, 255]),
        (32, 1, 2, struct.pack("<2i", -7, 9), [0, 255]),
        (32, 1, 3, struct.pack("<2f", 0.25, 0.5), [0, 255]),
        (32, 1, 3, struct.pack("<2f", 1.0, 1.0), [255, 255]),
        (32, 1, 3, struct.pack("<2f", 0.5, 0.5), [128, 128]),
        (32, 1, 3, struct.pack("<2f", -1.0, -1.0), [0, 0]),
    ],
)
def test_deep_grey_in_tiff(bits: int, photometric: int, sample_format: int, data: bytes, grey: list[int]) -> None:
    assert decode(tiff_row(bits, photometric, sample_format, data))[0, :, 1].tolist() == grey


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.5, 12.25), (1e30, 3e38), (-3e38, 3e38)])
def test_float_tiff_is_rescaled_by_its_range(low: float, high: float) -> None:
    ramp = np.linspace(low, high, 256, dtype=np.float64).astype(np.float32).reshape(16, 16)
    pixels = decode(encoded(PIL.Image.fromarray(ramp), "TIFF"))
    expected = np.rint(np.linspace(0, 255, 256)).reshape(16, 16)
    assert np.abs(pixels[:, :, 0] - expected).max() <= 1
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()


def test_float_tiff_with_holes_or_without_contrast() -> None:
    values = np.array([[np.nan, 0.0], [np.inf, 4.0]], dtype=np.float32)
    assert decode(encoded(PIL.Image.fromarray(values), "TIFF"))[:, :, 0].tolist() == [[0, 0], [0, 255]]
    flat = np.full((2, 2), np.float32(7))
    assert decode(encoded(PIL.Image.fromarray(flat), "TIFF")).max() == 7
    assert decode(encoded(PIL.Image.fromarray(flat * np.float32(np.nan)), "TIFF")).max() == 0


# --- colour models and transparency


def test_cmyk_is_the_same_picture() -> None:
    image = photo()
    for kind in ("JPEG", "TIFF"):
        pixels = decode(encoded(image.convert("CMYK"), kind))
        assert difference(pixels, np.asarray(image)) < 3


def test_transparency_is_laid_on_white() -> None:
    image = photo().convert("RGBA")
    alpha = np.full((120, 160), 255, np.uint8)
    alpha[:60], alpha[60:90] = 0, 128
    image.putalpha(PIL.Image.fromarray(alpha))
    opaque = np.asarray(image.convert("RGB")).astype(float)
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        pixels = decode(encoded(image, kind, **options)).astype(float)
        assert (pixels[:60] == 255).all()
        assert np.abs(pixels[60:90] - (opaque[60:90] * 128 + 255 * 127) / 255).max() <= 1
        assert (pixels[90:] == opaque[90:]).all()


def test_grey_with_alpha_and_palette_with_transparency() -> None:
    grey = PIL.Image.new("LA", (4, 4), (100, 255))
    grey.putpixel((0, 0), (0, 0))
    pixels = decode(encoded(grey, "PNG"))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [100, 100, 100]

    palette = PIL.Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    palette.putpixel((0, 0), 0)
    for data in (
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "PNG", transparency=b"\x00\xff"),
        encoded(palette, "GIF", transparency=0),
    ):
        pixels = decode(data)
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[1, 1].tolist() == [10, 200, 30]


def test_one_transparent_colour_of_an_rgb_png() -> None:
    image = PIL.Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    pixels = decode(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert pixels.tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBa", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_of_an_image_in_memory(mode: str) -> None:
    image = photo(32, 24).convert("RGBA").convert(mode) if mode == "RGBa" else photo(32, 24)
    image = image.convert("L").convert("I").convert(mode) if mode in ("I", "F", "I;16") else image.convert(mode)
    assert decode(image).shape == (24, 32, 3)


# --- EXIF


def with_orientation(image: PIL.Image.Image, value: int, kind: str) -> bytes:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = value
    return encoded(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_turns_the_picture(value: int, kind: str) -> None:
    data = with_orientation(photo(), value, kind)
    with PIL.Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decode(data), expected)
    assert expected.shape[:2] == ((160, 120) if value >= 5 else (120, 160))


def test_all_eight_orientations_of_one_scene_come_out_alike() -> None:
    """The camera was held eight ways; the stored pixels differ, the decoded ones don't."""
    undo = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_90,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_270,
    }
    scene = photo()
    for value in range(1, 9):
        stored = scene.transpose(undo[value]) if value in undo else scene
        assert difference(decode(with_orientation(stored, value, "JPEG")), np.asarray(scene)) < 4
        assert decode(with_orientation(stored, value, "PNG")).tolist() == np.asarray(scene).tolist()


@pytest.mark.parametrize("value", [0, 9, 99])
def test_an_unknown_orientation_is_ignored(value: int) -> None:
    plain = decode(encoded(photo(), "JPEG"))
    np.testing.assert_array_equal(decode(with_orientation(photo(), value, "JPEG")), plain)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0",
    ],
)
def test_a_broken_exif_block_is_ignored(block: bytes) -> None:
    plain = decode(encoded(photo(), "JPEG"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(decode(encoded(photo(), "JPEG", exif=block)), plain)


# --- polyglots


def test_a_polyglot_leaves_nothing_of_itself_in_the_thumbnail() -> None:
    script = b"<script>alert(1)</script>"
    data = encoded(photo(), "GIF", comment=script) + script
    assert script in data
    small = thumbnail(decode(data))
    assert small.startswith(b"\xff\xd8\xff")
    assert b"script" not in small


# --- reduced decoding


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_at_least_reduces_a_jpeg_but_keeps_that_many_pixels(mode: str) -> None:
    image = photo(1600, 1000)
    data = encoded(image.convert(mode), "JPEG", quality=92)
    whole, reduced = decode(data), decode(data, at_least=224)
    assert whole.shape == (1000, 1600, 3)
    assert 224 <= min(reduced.shape[:2]) < 500
    again = PIL.Image.fromarray(reduced).resize((160, 100), PIL.Image.Resampling.BOX)
    small = PIL.Image.fromarray(whole).resize((160, 100), PIL.Image.Resampling.BOX)
    assert difference(np.asarray(again), np.asarray(small)) < 2


@pytest.mark.parametrize("size", [(200, 150), (224, 224), (225, 300)])
def test_at_least_never_goes_below_the_file_or_the_floor(size: tuple[int, int]) -> None:
    pixels = decode(encoded(photo(*size), "JPEG"), at_least=224)
    assert pixels.shape[:2] == (size[1], size[0])


def test_at_least_and_orientation_go_together() -> None:
    pixels = decode(with_orientation(photo(1600, 1000), 6, "JPEG"), at_least=224)
    height, width = pixels.shape[:2]
    assert height > width >= 224


# --- sources


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    tar = tmp_path / "photos.tar"
    tar.write_bytes(b"x" * 512 + data + b"y" * 512)
    with PIL.Image.open(path) as lazy:
        sources = [
            data,
            path,
            str(path),
            FileImage(path),
            BytesImage(data),
            TarImage(tar, "photo.png", 512, len(data)),
            photo(),
            lazy,
            np.asarray(photo()),
        ]
        for source in sources:
            np.testing.assert_array_equal(decode(source), np.asarray(photo()))


def test_arrays_of_every_accepted_shape() -> None:
    grey = np.asarray(photo().convert("L"))
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(decode(grey), expected)
    np.testing.assert_array_equal(decode(grey[:, :, None]), expected)
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (decode(clear) == 255).all()
    assert decode(np.array([[0, 25700]], np.uint16))[0, :, 0].tolist() == [0, 100]
    assert decode(np.array([[0, 4095]], np.int32))[0, :, 0].tolist() == [0, 255]
    assert decode(np.full((2, 2, 3), 65535, np.uint16)).min() == 255
    assert decode(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]
    assert decode(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.array([["a"]]),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_other_arrays_are_malformed(array: np.ndarray) -> None:
    assert reason_for(array) is Reason.MALFORMED


def test_missing_and_odd_paths(tmp_path: Path) -> None:
    assert reason_for(tmp_path / "nothing.jpg") is Reason.MISSING
    assert reason_for("nul\0.jpg") is Reason.MISSING
    assert reason_for(tmp_path) is Reason.NOT_AN_IMAGE
    with pytest.raises((DataError, TypeError)):  # TypeError: from the run-time type checks of the tests
        decode(42)  # type: ignore[arg-type]
    assert reason_for(TarImage(tmp_path / "nothing.tar", "m", 0, 5)) is Reason.MISSING


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(10)
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_for(tmp_path / "pipe.jpg") is Reason.NOT_AN_IMAGE


def test_a_member_of_a_cut_tar_is_truncated(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    tar = tmp_path / "cut.tar"
    tar.write_bytes(data[:-100])
    assert reason_for(TarImage(tar, "m", 0, len(data))) is Reason.TRUNCATED


def test_heic_without_its_package_says_what_to_install() -> None:
    with pytest.raises(DataError) as caught:
        decode(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(40))
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        assert "diptych[heif]" in str(caught.value)
        assert caught.value.reason is Reason.NOT_AN_IMAGE


def test_pillows_process_wide_settings_are_left_alone() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS)
    decode(encoded(photo(), "PNG"))
    reason_for(png_of(9_000, 9_000))
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_simplejpeg_refuses_what_is_cut() -> None:
    """The property of the fast path that the rest relies on."""
    data = encoded(photo(), "JPEG")
    with pytest.raises(ValueError, match="remature end"):
        simplejpeg.decode_jpeg(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (b"just a text about trees\n", "text"),
        ("Bäume, viele; und am Ende ein halber Buchsta€€€€€€€€€€€€€€€€".encode()[:64], "text"),
        ("text".encode("utf-16"), "text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG file"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04\x14\0", "a ZIP archive or an office document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer instead of the file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video or sound"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "sound"),
        (b"\0" * 100, "only zeros"),
        (b"\x9a\xec\x01\x02\xff\xfe", "data of an unknown kind"),
    ],
)
def test_a_file_that_is_no_image_is_described_in_words_for_people(content: bytes, holds: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        decode(path)
    assert str(refused.value).startswith(f"{path} is not an image: it holds {holds}")
    assert "b'" not in str(refused.value)
    assert repr(content[:64]) in refused.value.__notes__[0], "for --debug"


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    with pytest.raises(DataError, match=r"x\.jpg is not an image: it is empty"):
        decode(tmp_path / "x.jpg")


def test_what_a_decoder_says_is_for_debugging_only(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(encoded(photo(300, 200), "JPEG")[:4_000])
    with pytest.raises(DataError) as refused:
        decode(path)
    assert str(refused.value) == f"{path} ends early or is damaged (JPEG); fetch it again"
    assert "remature" in refused.value.__notes__[0]
