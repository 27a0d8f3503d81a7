"""The animation of the README: `python -m website.animation` draws docs/images/search.webp.

It draws OpenMoji's emojis into a folder, each named by its English name, runs `diptych index` and `diptych search` on
it, and shows what they print and found: nothing in it is made up but the speed and the home folder. Needs the extras
demo and plot (for the font).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from diptych.cli.app import run
from diptych.data.readers.openmoji import iter_openmoji

OUT = Path(__file__).parents[1] / "docs" / "images" / "search.webp"
DRAWINGS = 1652  # all with names
QUERIES = ("a bird", "des fruits", "flores")  # of twenty that were tried, three that are answered well
SHOWN = 5
WIDTH, HEIGHT, EDGE, LINE, TILE = 840, 430, 24, 25, 140  # pixels
PAPER, INK, FAINT, PROMPT, GROUND = "#16181d", "#e8eaed", "#9aa0a6", "#7fd18b", "#ffffff"
TYPED, READ, LAST = 60, 900, 2600  # milliseconds


@dataclass(frozen=True)
class Scene:
    """A command, what it printed, and the images that it found."""

    command: str
    lines: tuple[str, ...]
    found: tuple[Path, ...] = ()


def scenes(folder: Path) -> list[Scene]:
    """Index drawings in `folder` and search them."""
    images = folder / "Pictures"
    images.mkdir(exist_ok=True)
    for pair in iter_openmoji(folder / "drawn", limit=DRAWINGS):
        name = next(text.value for text in pair.texts if text.lang == "en")
        (image,) = pair.images
        Path(image.name).rename(images / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.png")
    made = [Scene("diptych index Pictures --library my-library", _printed(folder, "index", "Pictures")[:1])]
    for query in QUERIES:
        asked = ("search", query, "-k", str(SHOWN))
        hits = json.loads("\n".join(_printed(folder, *asked, "--json")))["hits"]
        lines = tuple(line.replace(str(folder), "/home/me") for line in _printed(folder, *asked))
        found = tuple(Path(hit["path"]) for hit in hits)
        made.append(Scene(f'diptych search "{query}" --library my-library -k {SHOWN}', lines, found))
    return made


def _printed(folder: Path, *arguments: str) -> tuple[str, ...]:
    out, before = io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out):
            code = run([*arguments, "--library", "my-library", "--quiet"])
    finally:
        os.chdir(before)
    if code:
        raise RuntimeError(f"diptych {' '.join(arguments)}: exit code {code}")
    return tuple(out.getvalue().rstrip("\n").split("\n"))


def frames(shown: list[Scene]) -> Iterator[tuple[Image.Image, int]]:
    """Each image, and how many milliseconds it stays."""
    for place, scene in enumerate(shown):
        for end in range(0, len(scene.command) + 1, 3):
            yield _frame(scene.command[:end], (), ()), TYPED
        yield _frame(scene.command, (), ()), READ // 2
        last = place == len(shown) - 1
        yield _frame(scene.command, scene.lines, scene.found), LAST if last or scene.found else 2 * READ


def _frame(command: str, lines: tuple[str, ...], found: tuple[Path, ...]) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(image), _font()
    draw.text((EDGE, EDGE), "$", PROMPT, font)
    draw.text((EDGE + 2 * font.getlength(" "), EDGE), command, INK, font)
    for row, line in enumerate(lines, 1):
        draw.text((EDGE, EDGE + 8 + row * LINE), line, FAINT, font)
    for column, path in enumerate(found):
        left, top = EDGE + column * (TILE + 23), HEIGHT - EDGE - TILE
        draw.rounded_rectangle((left, top, left + TILE, top + TILE), 10, GROUND)
        with Image.open(path) as drawing:
            drawing = drawing.convert("RGBA").resize((TILE - 20, TILE - 20))
        image.paste(drawing, (left + 10, top + 10), drawing)
    return image


def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf", 15)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        drawn = list(frames(scenes(Path(folder).resolve())))
    first, *rest = [image for image, _ in drawn]
    times = [milliseconds for _, milliseconds in drawn]
    first.save(out, save_all=True, append_images=rest, duration=times, loop=0, quality=70, method=4)
    print(f"{out}: {len(drawn)} frames, {sum(times) / 1000:.0f} s, {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
