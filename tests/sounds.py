"""Sounds for the tests: tones whose names say how high and how long they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERTZ = {"low": 250, "middle": 1000, "high": 4000}
SECONDS = {"short": 0.2, "long": 0.6}


def tone(hertz: float, seconds: float, rate: int = 16_000, loud: float = 0.5) -> np.ndarray:
    """A sine, float64 samples."""
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def tones(folder: Path, splits: tuple[str, ...] = ("train",) * 4 + ("val",) * 2) -> Path:
    """A folder of tones with texts, for each split named six different ones, a little higher or lower than others."""
    import soundfile

    draw = np.random.default_rng(0)
    for number, split in enumerate(splits):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for height, hertz in HERTZ.items():
            for length, seconds in SECONDS.items():
                samples = tone(hertz * draw.uniform(0.9, 1.1), seconds * draw.uniform(0.9, 1.1))
                samples += 0.01 * draw.standard_normal(len(samples))
                path = folder / split / f"{length}_{height}_{number}{('.wav', '.flac', '.ogg', '.mp3')[number % 4]}"
                soundfile.write(path, samples, 16_000)
                path.with_suffix(".txt").write_text(f"a {length} {height} tone\n")
    return folder


def spoken(folder: Path, photos: int = 30) -> Path:
    """A table of images of two colours, and of tones that stand in for what is said of them."""
    import soundfile
    from PIL import Image

    folder.mkdir()
    draw, lines = np.random.default_rng(1), ["image,audio,lang,split"]
    for number in range(photos):
        colour, hertz = (((200, 20, 20), 4000), ((20, 20, 200), 300))[number % 2]
        shade = tuple(int(level + draw.integers(0, 50)) for level in colour)
        Image.new("RGB", (40, 30), shade).save(folder / f"{number}.png")
        soundfile.write(folder / f"{number}.wav", tone(hertz * draw.uniform(0.8, 1.2), 0.3), 16_000)
        lines.append(f"{number}.png,{number}.wav,{('de', 'en')[number % 3 > 0]},{'train' if number < 20 else 'val'}")
    (folder / "bad.wav").write_text("hello")
    table = folder / "spoken.csv"
    table.write_text("\n".join([*lines, "0.png,bad.wav,en,train", "1.png,gone.wav,en,train"]) + "\n")
    return table
