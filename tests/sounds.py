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
