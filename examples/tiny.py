"""Data for trying out: coloured shapes, drawn on the spot."""

import csv
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = ["red", "green", "blue", "yellow", "black", "purple", "orange", "grey"]
FORMS = {"circle": ImageDraw.ImageDraw.ellipse, "square": ImageDraw.ImageDraw.rectangle}


def shapes() -> Path:
    """A folder of images and a table `pairs.csv` with a caption for each."""
    folder = Path(tempfile.mkdtemp(prefix="shapes-"))
    with (folder / "pairs.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "caption"])
        for colour in COLOURS:
            for form, draw in FORMS.items():
                for size in (40, 60, 80):
                    image = Image.new("RGB", (128, 128), "white")
                    draw(
                        ImageDraw.Draw(image), (64 - size // 2, 64 - size // 2, 64 + size // 2, 64 + size // 2), colour
                    )
                    name = f"{colour}-{form}-{size}.png"
                    image.save(folder / name)
                    table.writerow([name, f"a {colour} {form}"])
    return folder
