"""The design's table of bad images, sent to a real server while an ordinary client searches.

    python benchmarks/serve_bad.py LIBRARY [--rounds 3]

Prints the status of each, as an upload to search with and as a data URI to embed. Targets: the status that
the table names, every answer in a second, no request of the ordinary client failing, no restart.
"""

from __future__ import annotations

import argparse
import base64
import io
import struct
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from serve_load import start_server

SECONDS = 1.0  # for an answer; five times that for the image of 21 MB


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many black pixels, in few bytes."""
    lines = zlib.compressobj(9)
    body = b"".join(lines.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + lines.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def saved(image: PIL.Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def photo(mode: str = "RGB", size: tuple[int, int] = (300, 200)) -> PIL.Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise).convert(mode)


def text_bomb() -> bytes:
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text("a", "x" * 80_000_000, zip=True)
    return saved(photo(size=(8, 8)), "PNG", pnginfo=about)


def bad_chunk() -> bytes:
    data = bytearray(saved(photo(), "PNG"))
    data[60] ^= 0xFF
    return bytes(data)


def frames(count: int) -> bytes:
    images = [PIL.Image.new("L", (8, 8), at * 89 % 256) for at in range(count)]
    return saved(images[0], "GIF", save_all=True, append_images=images[1:])


def exif(value: int) -> bytes:
    about = PIL.Image.Exif()
    about[0x0112] = value
    return saved(photo(), "JPEG", exif=about)


def table() -> dict[str, tuple[bytes, set[int]]]:
    """Name -> bytes and the statuses that are right."""
    jpeg = saved(photo(), "JPEG")
    grey = PIL.Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16))
    return {
        "0 bytes": (b"", {415, 422}),
        "1 byte": (b"\xff", {415}),
        "HTML": (b"<html><script>alert(1)</script>", {415}),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', {415}),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", {415}),
        "FITS": (b"SIMPLE  =                    T" + b" " * 2850, {415}),
        "text as .jpg": (b"hello " * 100, {415}),
        "half a JPEG": (jpeg[: len(jpeg) // 2], {422}),
        "PNG with a bad chunk": (bad_chunk(), {422}),
        "401 megapixels": (bomb(20_020, 20_020), {413}),
        "177 megapixels": (bomb(13_300, 13_300), {413}),
        "81 megapixels": (bomb(9_000, 9_000), {413}),
        "21 MB": (jpeg + b"\0" * 21_000_000, {413}),
        "PNG text bomb": (text_bomb(), {422}),
        "5,000-frame GIF": (frames(5_000), {200}),
        "1 x 1": (saved(PIL.Image.new("RGB", (1, 1)), "PNG"), {200}),
        "1 x 65000": (bomb(1, 65_000), {422}),
        "16-bit grey": (saved(grey, "PNG"), {200}),
        "float TIFF": (saved(photo().convert("F"), "TIFF"), {200}),
        "CMYK": (saved(photo("CMYK"), "JPEG"), {200}),
        "LA": (saved(photo("LA"), "PNG"), {200}),
        **{f"EXIF {value}": (exif(value), {200}) for value in (1, 6, 8, 99)},
        "GIF + script": (saved(photo("P"), "GIF") + b"<script>alert(1)</script>", {200}),
    }


def ordinary(address: str, stop: threading.Event, statuses: Counter[int]) -> None:
    """Somebody who searches all the while."""
    number = 0
    with httpx.Client(base_url=address, timeout=10) as client:
        while not stop.is_set():
            number += 1
            try:
                statuses[client.post("/libraries/bench/search", json={"text": f"a dog {number}"}).status_code] += 1
            except httpx.HTTPError:
                statuses[0] += 1
            time.sleep(0.05)


def sent(client: httpx.Client, data: bytes) -> tuple[int, int, float]:
    """Statuses as an upload and as a data URI, and the seconds of the slower one."""
    started = time.perf_counter()
    upload = client.post("/libraries/bench/search/image", files={"file": ("x.jpg", data)}).status_code
    middle = time.perf_counter()
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    embedded = client.post("/v1/embeddings", json={"input": uri}).status_code
    return upload, embedded, max(middle - started, time.perf_counter() - middle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    process, address = start_server(options.library)
    stop, statuses, misses = threading.Event(), Counter(), 0
    someone = threading.Thread(target=ordinary, args=(address, stop, statuses))
    try:
        someone.start()
        print("| input | kB | upload | data URI | s | |\n|---|---|---|---|---|---|")
        with httpx.Client(base_url=address, timeout=30) as client:
            for turn in range(options.rounds):
                for name, (data, right) in table().items():
                    upload, embedded, seconds = sent(client, data)
                    good = {upload, embedded} <= right and seconds <= SECONDS * (5 if len(data) > 10_000_000 else 1)
                    misses += not good
                    if not turn or not good:
                        verdict = "ok" if good else "MISS"
                        print(f"| {name} | {len(data) // 1000} | {upload} | {embedded} | {seconds:.2f} | {verdict} |")
        assert process.poll() is None, "the server died"
    finally:
        stop.set()
        someone.join()
        process.terminate()
        process.wait()
    print(f"\nordinary client meanwhile: {dict(statuses)}")
    print(f"{'ok  ' if not misses and set(statuses) == {200} else 'MISS'} {misses} misses in {options.rounds} rounds")


if __name__ == "__main__":
    main()
