"""What exporting a model costs in recall and gains in speed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diptych.core.protocols import SILENT, Progress
from diptych.data.images import stream
from diptych.data.readers import Source, SourceOptions
from diptych.evaluation.compare import Comparison
from diptych.models import DualEncoder

from .measuring import compare, open_untrained
from .reading import ANY_SOURCE, AnySource

_IMAGES, _TEXTS, _ROUNDS = 64, 256, 3
_BATCH = 32
_SHOWN = ("R@1", "R@5", "R@10", "rsum")


@dataclass(frozen=True)
class Speed:
    """Images or texts a second, of the original and of the export, on the same inputs in turn.

    Images are decoded and prepared before; the fastest of several rounds counts.
    """

    original: float
    exported: float

    @property
    def ratio(self) -> float:
        """How many times as fast the export is."""
        return self.exported / self.original


@dataclass(frozen=True)
class ExportCheck:
    """An export beside its original: recall both ways with paired differences, and speed by "images" and "texts"."""

    comparison: Comparison
    speed: Mapping[str, Speed]
    device: str

    def table(self) -> str:
        """Markdown."""
        rows = [
            f"| {what} a second | {speed.original:.1f} | {speed.exported:.1f} | {speed.ratio:.2f}x |"
            for what, speed in self.speed.items()
        ]
        head = [
            f"## Speed, device {self.device}\n", "| | original | export | ratio |", "|---|---|---|---|"
        ]  # fmt: skip
        return self.comparison.table(_SHOWN) + "\n" + "\n".join([*head, *rows]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        speed = {what: {**asdict(found), "ratio": found.ratio} for what, found in self.speed.items()}
        return {"comparison": self.comparison.to_json(), "speed": speed, "device": self.device}


def check_export(
    original: DualEncoder,
    exported: DualEncoder,
    source: AnySource,
    *,
    options: SourceOptions = ANY_SOURCE,
    resamples: int = 2000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> ExportCheck:
    """Measure an export and its original on the records of a source that the original was not trained on."""
    opened = open_untrained([original, exported], source, options=options, progress=progress)
    found = compare([original, exported], opened, resamples=resamples, seed=seed, progress=progress)
    return ExportCheck(found, _speeds(original, exported, opened), exported.device)


def _speeds(original: DualEncoder, exported: DualEncoder, source: Source) -> dict[str, Speed]:
    some = list(itertools.islice(source, _IMAGES))
    images = [pair.images[0] for pair in some if pair.images]
    batches = list(stream(images, original.preprocess, batch_size=_BATCH))
    pixels = np.concatenate([batch.pixels for batch in batches])
    texts = [text.value for pair in source for text in pair.texts][:_TEXTS]
    work: dict[str, tuple[int, Callable[[DualEncoder], Any]]] = {
        "images": (len(pixels), lambda model: [model.encode_pixels(part) for part in _batches(pixels)]),
        "texts": (len(texts), lambda model: [model.encode_texts(texts[i : i + _BATCH]) for i in _starts(texts)]),
    }
    return {what: _speed(count, encode, original, exported) for what, (count, encode) in work.items() if count}


def _starts(rows: Any) -> range:
    return range(0, len(rows), _BATCH)


def _batches(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels[start : start + _BATCH] for start in _starts(pixels)]


def _speed(count: int, encode: Callable[[DualEncoder], Any], original: DualEncoder, exported: DualEncoder) -> Speed:
    best = {"original": float("inf"), "exported": float("inf")}
    for _ in range(1 + _ROUNDS):  # the first one starts sessions; it is never the fastest
        for name, model in (("original", original), ("exported", exported)):
            started = time.perf_counter()
            encode(model)
            best[name] = min(best[name], time.perf_counter() - started)
    return Speed(count / best["original"], count / best["exported"])
