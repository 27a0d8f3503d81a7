"""The model in the package: loads without network or PyTorch, and sees the same picture in every disguise."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

import diptych
from diptych.models import SHIPPED
from diptych.models.shipped import _HERE

LIMIT = 25_000_000  # bytes that a shipped model may take


@pytest.fixture(scope="module")
def base() -> diptych.DualEncoder:
    return diptych.load("base")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A scene with colours, edges and no symmetry: 200 x 150."""
    image = Image.new("RGB", (200, 150), (120, 170, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 100, 200, 150), fill=(60, 140, 50))
    draw.ellipse((20, 10, 60, 50), fill=(250, 210, 60))
    draw.polygon([(100, 110), (150, 40), (190, 110)], fill=(130, 60, 40))
    draw.rectangle((135, 80, 155, 110), fill=(230, 230, 220))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def cosine(model: diptych.DualEncoder, left: object, right: object) -> float:
    vectors = model.encode_images([left, right])
    return float(vectors[0] @ vectors[1])


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_it_is_small_and_sound(name: str) -> None:
    folder = _HERE / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < LIMIT
    model = diptych.load(name)
    vectors = model.encode_texts(["a dog", "ein Hund"])
    assert vectors.shape == (2, model.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (folder / "README.md").read_text(encoding="utf-8").count("## ") >= 4


def test_it_knows_a_translation_from_another_sentence(base: diptych.DualEncoder) -> None:
    texts = ["a dog runs on the beach", "ein Hund läuft am Strand", "un chien court sur la plage", "a man plays guitar"]
    close = base.encode_texts(texts) @ base.encode_texts(texts).T
    assert close[0, 1] > close[0, 3]
    assert close[0, 2] > close[0, 3]


def test_without_torch_and_without_network() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('no network in this test')\n"
        "socket.socket.connect = refuse\n"
        "import diptych, numpy\n"
        "model = diptych.load('base')\n"
        "model.encode_texts('a dog'); model.encode_images(numpy.zeros((8, 8, 3), numpy.uint8))\n"
        "assert not {'torch', 'timm', 'transformers', 'lancedb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_cmyk(base: diptych.DualEncoder, picture: Image.Image) -> None:
    assert cosine(base, encoded(picture, "PNG"), encoded(picture.convert("CMYK"), "TIFF")) >= 0.98


def test_grey_with_alpha(base: diptych.DualEncoder, picture: Image.Image) -> None:
    grey = picture.convert("L")
    assert cosine(base, encoded(grey.convert("RGB"), "PNG"), encoded(grey.convert("LA"), "PNG")) >= 0.98


def test_palette_with_alpha_stands_on_white(base: diptych.DualEncoder) -> None:
    """A drawing with a clear background: GIF and palette PNG against the same drawing on white."""
    drawing = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
    ImageDraw.Draw(drawing).ellipse((20, 20, 100, 100), fill=(200, 30, 30, 255))
    white = Image.new("RGB", drawing.size, "white")
    white.paste(drawing, mask=drawing.getchannel("A"))
    assert cosine(base, encoded(white, "PNG"), encoded(drawing.quantize(64), "PNG")) >= 0.98


def test_sixteen_bit_grey(base: diptych.DualEncoder, picture: Image.Image) -> None:
    grey = ImageOps.autocontrast(picture.convert("L"))
    deep = Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257)
    assert cosine(base, encoded(grey, "PNG"), encoded(deep, "PNG")) >= 0.98


UNTURNED = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", [*UNTURNED, 99])
def test_exif_orientation(base: diptych.DualEncoder, picture: Image.Image, orientation: int) -> None:
    stored = UNTURNED.get(orientation, lambda image: image)(picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert cosine(base, encoded(picture, "PNG"), encoded(stored, "PNG", exif=exif.tobytes())) >= 0.9999


def test_a_file_a_picture_bytes_and_an_array_are_the_same(
    base: diptych.DualEncoder, picture: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    picture.save(path)
    vectors = base.encode_images([path, str(path), picture, path.read_bytes(), np.asarray(picture)])
    assert np.allclose(vectors, vectors[0], atol=1e-5)
