"""RapidOCR itself, on an image drawn here; and what its process does with others."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import BytesImage
from diptych.data.words import WordReader

rapidocr = pytest.importorskip("rapidocr", reason="needs the [ocr] extra")


def drawn(text: str) -> BytesImage:
    image, stream = Image.new("RGB", (300, 80), "white"), io.BytesIO()
    ImageDraw.Draw(image).text((10, 20), text, fill="black", font=ImageFont.load_default(36))
    image.save(stream, "PNG")
    return BytesImage(stream.getvalue(), "sign.png")


def test_words_are_read_and_what_is_no_image_stops_nothing() -> None:
    with WordReader(120) as reader:
        with pytest.raises(DataError) as raised:
            reader(BytesImage(b"no image", "notes.txt"))
        assert raised.value.reason == Reason.NOT_AN_IMAGE
        assert {"EXIT", "Gate", "42"} <= set(reader(drawn("EXIT Gate 42")).split())
        assert reader(drawn("")) == ""


@pytest.mark.slow
def test_an_image_that_takes_too_long_ends_the_process_alone() -> None:
    with WordReader(0.001) as reader:
        for _ in range(2):
            with pytest.raises(DataError, match=r"sign.png: reading its words took longer than 0.001 s") as raised:
                reader(drawn("EXIT 42"))
            assert raised.value.reason == Reason.TOO_SLOW


def test_weights_that_are_missing_are_not_downloaded(tmp_path, monkeypatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ConfigError, match=r"det_small, rec_small, cls_mobile missing\), and nothing is downloaded"):
        WordReader()
