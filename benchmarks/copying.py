"""R-precision without drawing anything: what copies and mixtures of training images get.

    python benchmarks/copying.py emoji/ --model runs/judge/model [--fields name] [--lang en]

A generator that has learnt its training images by heart, and shows that of the nearest text, gets the first row.
One that shows an average of what belongs to near texts gets one of the others: the sharper, the more of a copy it is.
Beside them `diptych generator eval` says what a generator gets; the rules are the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core.protocols import Preprocess, TextTower
from diptych.core.types import Pair
from diptych.data.images import decode, prepare
from diptych.data.readers import SourceOptions, open_source
from diptych.encoders import text_tower
from diptych.inspection.generators import MeasureSettings, MeasuringModels, measure_generated
from diptych.models import load


class Mixer:
    """A "generator" that shows training images: of the nearest text, or averages weighted by exp(cosine / t)."""

    def __init__(self, pairs: Sequence[Pair], tower: TextTower, *, fields: Sequence[str], lang: str, size: int) -> None:
        self.tower = tower
        self.temperature = 0.0  # 0 is the nearest alone
        texts = [
            next((text.value for text in pair.texts if text.lang == lang and text.field in fields), None)
            for pair in pairs
        ]
        usable = [(pair, text) for pair, text in zip(pairs, texts, strict=True) if text is not None and pair.images]
        self.texts = self.tower.embed([text for _, text in usable])
        look = Preprocess(size)
        self.images = [np.stack([prepare(decode(ref), look) for ref in pair.images]) for pair, _ in usable]

    def generate(self, texts: Sequence[str], *, seed: int, lang: str = "") -> np.ndarray:
        """One image a text; another seed takes another drawing of the same records."""
        del lang
        shown = np.stack([several[seed % len(several)] for several in self.images])
        near = self.tower.embed(list(texts)) @ self.texts.T
        if not self.temperature:
            nearest: np.ndarray = shown[near.argmax(axis=1)]
            return nearest
        weights = np.exp((near - near.max(axis=1, keepdims=True)) / self.temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        mixed = np.tensordot(weights, shown.astype(np.float32), axes=1)
        rounded: np.ndarray = np.rint(mixed).clip(0, 255).astype(np.uint8)
        return rounded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", required=True, help="a model that reads images and texts")
    parser.add_argument("--fields", nargs="+", default=["name"])
    parser.add_argument("--lang", default="en")
    parser.add_argument("--size", type=int, default=64, help="pixels of the images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    training, held_out = (list(open_source(options.data, SourceOptions(split=split))) for split in ("train", "val"))
    mixer = Mixer(training, text_tower("use"), fields=options.fields, lang=options.lang, size=options.size)
    tools = MeasuringModels(judge=load(Path(options.model)))
    settings = MeasureSettings(lang=options.lang, fields=tuple(options.fields))
    print(f"{len(mixer.texts)} training texts, {len(held_out)} held-out pairs; R-precision, 1 of {settings.pool}")
    for temperature in (0.0, 0.02, 0.05, 0.1):
        mixer.temperature = temperature
        outcome, _ = measure_generated(mixer, held_out, tools, settings, seed=options.seed)
        found = next(measure for measure in outcome.measures if measure.name.startswith("R-precision"))
        name = f"mixture, t = {temperature:g}" if temperature else "image of the nearest text"
        print(f"{name:28} {found.printed(found.value)} % ({found.range}); real {found.printed(found.real)}")


if __name__ == "__main__":
    main()
