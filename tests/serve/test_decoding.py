"""The pool of limited decoders, in real processes: the design's table of bad images, deaths and replacements."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest

from diptych.core.errors import DataError
from diptych.core.protocols import Preprocess
from diptych.data.images import ImageLimits, prepared, stream
from diptych.serve.decoding import DecoderPool

PREPROCESS = Preprocess(size=32)


def with_pool(scenario, **changes):
    async def whole():
        values = {"memory": 2_500_000_000, "deadline": 15.0, **changes}
        pool = DecoderPool(values.pop("size", 1), values.pop("limits", ImageLimits()), **values)
        try:
            return await scenario(pool)
        finally:
            await pool.close()

    return asyncio.run(whole())


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG whose header says so; the pixels are one run of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg(size=(300, 200), **options) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(32, "patches", patch=8, exact=True),
        Preprocess(32, "longest", resize=40, fill=(1, 2, 3), interpolation="bilinear", exact=True, width_first=True),
    ],
    ids=lambda preprocess: preprocess.mode,
)
def test_a_worker_prepares_as_the_library_does(preprocess: Preprocess) -> None:
    decoded = with_pool(lambda pool: pool.decode(jpeg(), preprocess))
    assert np.array_equal(decoded.pixels, prepared(jpeg(), preprocess))


def text_bomb() -> bytes:
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text("a", "x" * 80_000_000, zip=True)
    stream = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(stream, "PNG", pnginfo=about)
    return stream.getvalue()


def detailed(size: tuple[int, int], mode: str = "RGB", form: str = "JPEG", **options) -> bytes:
    """An image with fine detail, so that another way of decoding gives other pixels."""
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def turned(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


UPLOADS = {  # and the size that is shown
    "small.jpg": (detailed((300, 200)), (300, 200)),
    "large.jpg": (detailed((1_600, 1_200)), (1_600, 1_200)),
    "turned.jpg": (detailed((1_100, 700), exif=turned(6)), (700, 1_100)),
    "nearly-square.jpg": (detailed((1_000, 999)), (1_000, 999)),
    "nearly-square-turned.jpg": (detailed((1_000, 999), exif=turned(8)), (999, 1_000)),
    "progressive-grey.jpg": (detailed((900, 1_300), "L", progressive=True), (900, 1_300)),
    "cmyk.jpg": (detailed((900, 700), "CMYK"), (900, 700)),
    "rgb.png": (detailed((700, 500), "RGB", "PNG"), (700, 500)),
    "palette.gif": (detailed((600, 500), "P", "GIF"), (600, 500)),
    "rgb.webp": (detailed((640, 480), "RGB", "WEBP"), (640, 480)),
}


def test_the_same_bytes_give_the_same_pixels_and_size_whether_uploaded_or_indexed() -> None:
    towers = [Preprocess(size=32), Preprocess(size=96, mode="crop"), Preprocess(size=200)]
    files = {name: data for name, (data, _) in UPLOADS.items()}

    async def scenario(pool):
        return {
            (name, tower, longest): await pool.decode(data, tower, longest)
            for name, data in files.items()
            for tower in towers
            for longest in (256, 640)
        }

    uploaded = with_pool(scenario)
    for tower in towers:
        (indexed,) = stream(files.values(), tower, also=lambda pixels: pixels.shape)
        (evaluated,) = stream(files.values(), tower)
        assert np.array_equal(indexed.pixels, evaluated.pixels)
        for at, (name, data) in enumerate(files.items()):
            assert np.array_equal(indexed.pixels[at], prepared(data, tower)), (name, tower)
            for longest in (256, 640):
                found = uploaded[name, tower, longest]
                assert np.array_equal(found.pixels, indexed.pixels[at]), (name, tower, longest)
                assert (found.width, found.height) == UPLOADS[name][1]
                assert max(PIL.Image.open(io.BytesIO(found.thumb)).size) == min(longest, max(UPLOADS[name][1]))


def test_the_table_of_bad_images_and_the_pool_still_works() -> None:
    table = {
        "empty": (b"", "not_an_image"),
        "one byte": (b"\xff", "not_an_image"),
        "html": (b"<html><script>alert(1)</script>", "not_an_image"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_an_image"),
        "fits": (b"SIMPLE  =                    T", "not_an_image"),
        "half a JPEG": (jpeg()[:9_000], "truncated"),
        "401 megapixels": (png(20_020, 20_020, zlib.compress(b"\0" * 1000)), "too_large"),
        "81 megapixels": (png(9_000, 9_000), "too_large"),
        "1 x 65000": (png(1, 65_000, zlib.compress(b"\0\0" * 65_000)), "bad_aspect"),
        "text bomb": (text_bomb(), "malformed"),
        "21 MB": (jpeg()[:9_000] + b"\0" * 21_000_000, "too_large"),
    }

    async def reason(pool, data):
        try:
            await pool.decode(data, PREPROCESS)
        except DataError as error:
            return error.reason.value
        return None

    async def scenario(pool):
        found = {name: await reason(pool, data) for name, (data, _) in table.items()}
        return found, await pool.decode(jpeg(), PREPROCESS)

    found, good = with_pool(scenario)
    assert found == {name: expected for name, (_, expected) in table.items()}
    assert good.pixels is not None


def test_a_decoder_that_dies_is_replaced_and_only_its_image_is_lost() -> None:
    replaced = []

    async def scenario(pool):
        await pool.start()
        (process,) = pool._idle
        os.kill(process.pid, signal.SIGSTOP)
        lost = asyncio.create_task(pool.decode(jpeg(), PREPROCESS))
        await asyncio.sleep(0.1)
        next_one = asyncio.create_task(pool.decode(jpeg(), PREPROCESS))
        await asyncio.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DataError, match="too much time or memory"):
            await lost
        return await next_one

    assert with_pool(scenario, on_replaced=lambda: replaced.append(1)).width == 300
    assert len(replaced) == 1


def test_one_that_died_in_its_sleep_costs_nobody_anything() -> None:
    async def scenario(pool):
        await pool.start()
        pool._idle[0].kill()
        await pool._idle[0].wait()
        return await pool.decode(jpeg(), PREPROCESS)

    assert with_pool(scenario).width == 300


def test_one_that_hangs_is_stopped_at_the_deadline() -> None:
    async def scenario(pool):
        await pool.start()
        os.kill(pool._idle[0].pid, signal.SIGSTOP)
        with pytest.raises(DataError, match="too much time or memory"):
            await pool.decode(jpeg(), PREPROCESS)
        pool._deadline = 15.0
        return await pool.decode(jpeg(), PREPROCESS)

    assert with_pool(scenario, deadline=0.3).width == 300


def test_a_request_that_goes_away_leaves_no_answer_for_the_next() -> None:
    red, blue = (PIL.Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    encoded = []
    for image in (red, blue):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        encoded.append(stream.getvalue())

    async def scenario(pool):
        await pool.start()
        process = pool._idle[0]
        os.kill(process.pid, signal.SIGSTOP)
        gone = asyncio.create_task(pool.decode(encoded[0], PREPROCESS))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        return await pool.decode(encoded[1], PREPROCESS)

    assert with_pool(scenario).pixels[0, 0].tolist() == [0, 0, 255]


def test_memory_is_bounded_by_the_system() -> None:
    """49 megapixels of RGBA need more than a decoder with little memory may have."""
    stream = io.BytesIO()
    PIL.Image.new("RGBA", (7_000, 7_000)).save(stream, "PNG", compress_level=1)

    async def scenario(pool):
        with pytest.raises(DataError) as refused:
            await pool.decode(stream.getvalue(), PREPROCESS)
        return refused.value.reason.value, await pool.decode(jpeg(), PREPROCESS)

    reason, good = with_pool(scenario, memory=700_000_000)
    assert reason in ("too_large", "malformed")
    assert good.width == 300


def test_a_decoder_may_write_no_file(tmp_path) -> None:
    import subprocess
    import sys

    script = (
        "from diptych.serve.decode_worker import limit_resources; import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); limit_resources(2_000_000_000)\n"
        f"open({str(tmp_path / 'x')!r}, 'wb', buffering=0).write(b'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
