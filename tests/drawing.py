"""A real, tiny generator for tests: it reads colours, forms and counts in a text and draws them on white."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

NUMBERS = {"two": 2, "three": 3, "zwei": 2}
COLOURS = {
    "red": "red", "green": "green", "blue": "blue", "yellow": "yellow", "black": "black",
    "rotes": "red", "grünes": "green", "blaues": "blue", "gelbes": "yellow", "schwarzes": "black",
}  # fmt: skip
FORMS = {
    "circle": "circle", "circles": "circle", "square": "square", "squares": "square", "stripe": "stripe",
    "rund": "circle", "quadrat": "square", "band": "stripe",
}  # fmt: skip


class Drawer:
    """Draws what the words say; the seed moves and sizes it. `blind` words are not read."""

    name = "drawer"

    def __init__(self, size: int = 64, blind: Sequence[str] = ()) -> None:
        self.size = size
        self._blind = frozenset(blind)

    def generate(self, texts: Sequence[str], *, seed: int, lang: str = "") -> np.ndarray:
        generator = np.random.default_rng(seed)
        return np.stack([self._draw(text, generator) for text in texts])

    def _draw(self, text: str, generator: np.random.Generator) -> np.ndarray:
        words = [word for word in re.findall(r"\w+", text.lower()) if word not in self._blind]
        colour = next((COLOURS[word] for word in words if word in COLOURS), "grey")
        form = next((FORMS[word] for word in words if word in FORMS), "triangle")
        count = next((NUMBERS[word] for word in words if word in NUMBERS), 1)
        image = Image.new("RGB", (self.size, self.size), "white")
        pen = ImageDraw.Draw(image)
        half = self.size * int(generator.integers(20, 30)) // 100 // count
        x, y = (self.size // 2 + int(generator.integers(-3, 4)) for _ in range(2))
        for place in range(count):
            centre = x + (2 * place - count + 1) * self.size // (2 * count)
            box = (centre - half, y - half, centre + half, y + half)
            if form == "circle":
                pen.ellipse(box, colour)
            elif form == "square":
                pen.rectangle(box, colour)
            elif form == "stripe":
                pen.rectangle((0, y - half // 2, self.size, y + half // 2), colour)
            else:
                pen.polygon([(centre, y - half), (centre - half, y + half), (centre + half, y + half)], colour)
        return np.asarray(image)


class Noise:
    """Reads nothing: every pixel is noise."""

    def generate(self, texts: Sequence[str], *, seed: int, lang: str = "") -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (len(texts), 64, 64, 3), dtype=np.uint8)
