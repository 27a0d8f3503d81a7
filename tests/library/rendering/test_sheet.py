import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.types import Hit
from diptych.library.rendering.sheet import Tile, contact_sheet, png
from diptych.library.rendering.terminal import half_blocks, preview


def jpeg(colour, size=(256, 192)):
    stream = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(stream, "JPEG")
    return stream.getvalue()


def found(count, name="picture.jpg"):
    colours = ("red", "green", "blue")
    return [
        Tile(Hit(at, f"{at:016x}", 0.9 - at / 100, f"/x/{name}", {"name": name}), jpeg(colours[at % 3]))
        for at in range(count)
    ]


def near(image, colour):
    pixels = np.asarray(image).astype(int)
    return int((np.abs(pixels - np.array(colour)).max(axis=2) < 12).sum())


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12, 50])
def test_every_picture_is_on_the_sheet(count):
    sheet = contact_sheet("a query", found(count))
    tile = 232 * 174  # 256 x 192 fitted into 232 x 232
    for colour, rgb in enumerate(((254, 0, 0), (0, 128, 1), (0, 0, 254))):
        expected = len(range(colour, count, 3)) * tile
        assert near(sheet, rgb) == pytest.approx(expected, rel=0.02, abs=400)
    assert PIL.Image.open(io.BytesIO(png(sheet))).size == sheet.size


def test_the_page_is_neither_a_ribbon_nor_a_tower():
    for count in (3, 4, 7, 11, 19, 37, 50):
        width, height = contact_sheet("q", found(count)).size
        assert 0.5 < width / height < 3


@pytest.mark.parametrize("text", ["", "x" * 1000, "狗 كلب \U0001f436 \u200b\t\n", "\x00", "𓀀" * 40, "a\u0301" * 50])
def test_any_text_can_be_drawn(text):
    sheet = contact_sheet(text, found(2, name=text or "x"))
    assert sheet.size == contact_sheet("a", found(2)).size


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_any_text_at_all_can_be_drawn(text):
    contact_sheet(text, [])


def test_missing_and_damaged_thumbnails_leave_an_empty_tile():
    hits = found(3)
    hits[0] = Tile(hits[0].hit, None)
    hits[1] = Tile(hits[1].hit, b"\xff\xd8\xff no more")
    sheet = contact_sheet("q", hits, query_images=[jpeg("yellow"), b"no picture"])
    assert near(sheet, (0, 0, 254)) > 30_000
    assert near(sheet, (254, 0, 0)) == near(sheet, (0, 128, 1)) == 0
    assert near(sheet, (255, 255, 0)) > 2_000


def test_half_blocks_by_hand():
    pixels = np.array([[[255, 0, 0], [0, 0, 0]], [[0, 255, 0], [0, 0, 255]]], np.uint8)
    assert half_blocks(pixels, 2) == ["\x1b[38;2;255;0;0m\x1b[48;2;0;255;0m▀\x1b[38;2;0;0;0m\x1b[48;2;0;0;255m▀\x1b[0m"]


def test_a_preview_fits_the_terminal():
    import re

    for columns in (10, 40, 80, 200):
        lines = re.sub(r"\x1b\[[0-9;]*m", "", preview(found(7), columns)).splitlines()
        assert max(map(len, lines)) <= max(columns, 24)
        assert sum("picture.jpg" in line for line in lines) >= 1
    assert preview([], 80) == ""
    assert "no picture" not in preview([Tile(found(1)[0].hit, b"no picture")], 80)
