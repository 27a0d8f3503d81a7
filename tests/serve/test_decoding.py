"""The pool of limited decoders, in real processes: the design's table of bad pictures, deaths and replacements."""

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
from diptych.data.images import ImageLimits, decode, prepare
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


def text_bomb() -> bytes:
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text("a", "x" * 80_000_000, zip=True)
    stream = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(stream, "PNG", pnginfo=about)
    return stream.getvalue()


def test_it_decodes_as_the_library_does() -> None:
    data = jpeg()

    async def scenario(pool):
        return await pool.decode(data, PREPROCESS)

    found = with_pool(scenario)
    assert np.array_equal(found.pixels, prepare(decode(data, at_least=256), PREPROCESS))
    assert (found.width, found.height) == (300, 200)
    assert max(PIL.Image.open(io.BytesIO(found.thumb)).size) == 256


def test_the_size_is_that_of_the_upright_picture() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = jpeg(exif=exif)

    async def scenario(pool):
        return await pool.decode(data, PREPROCESS)

    found = with_pool(scenario)
    assert (found.width, found.height) == (200, 300)


def test_the_table_of_bad_pictures_and_the_pool_still_works() -> None:
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


def test_a_decoder_that_dies_is_replaced_and_only_its_picture_is_lost() -> None:
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
        with pytest.raises(DataError, match="within its limits"):
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
        with pytest.raises(DataError, match="within its limits"):
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
