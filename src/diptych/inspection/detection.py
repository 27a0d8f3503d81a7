"""Is a detector good enough to measure with: what it finds in real images, against what their captions name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.markdown import cell, table
from diptych.core.protocols import SILENT, Preprocess, Progress
from diptych.core.shapes import Bool, UInt8
from diptych.core.types import Pair, Skipped
from diptych.data.images import decode, prepare
from diptych.evaluation.generative import (
    Agreement,
    Detector,
    ScoringDetector,
    Share,
    agreement,
    as_matrix,
    look,
    look_for_scores,
    mentioned,
)

_THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_NAMED = 3  # unreadable images that the text names


@dataclass(frozen=True)
class AtThreshold:
    """Means over the classes that enough images name."""

    threshold: float
    precision: float
    recall: float
    elsewhere: float


@dataclass(frozen=True)
class DetectorReport:
    """How far a detector agrees with captions, class by class."""

    detector: str
    source: str
    split: str
    images: int
    size: int  # pixels that the images were first squashed to; 0 for as they are
    seed: int
    least: int  # images that must name a class before its shares are listed and count towards a mean
    classes: Mapping[str, Agreement]
    thresholds: tuple[AtThreshold, ...]
    skipped: tuple[Skipped, ...]

    @property
    def counted(self) -> dict[str, Agreement]:
        """The classes that enough images name, the commonest first."""
        found = {name: one for name, one in self.classes.items() if one.named >= self.least}
        return dict(sorted(found.items(), key=lambda item: -item[1].named))

    @property
    def telling(self) -> list[str]:
        """Those of them that are surely found more often where a caption names them than elsewhere."""
        return [name for name, one in self.counted.items() if one.recall.interval[0] > one.elsewhere.interval[1]]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; what there is no number for is null."""
        return {
            "kind": "detector",
            "detector": self.detector,
            "source": self.source,
            "split": self.split,
            "images": self.images,
            "size": self.size,
            "seed": self.seed,
            "least": self.least,
            "classes": {name: _class_json(one) for name, one in self.classes.items() if one.named or one.found},
            "mean": _mean(self.counted.values()),
            "telling": self.telling,
            "thresholds": [{key: _number(value) for key, value in vars(one).items()} for one in self.thresholds],
            "skipped": [one.to_json() for one in self.skipped],
        }

    def to_text(self) -> str:
        """Markdown: the classes, their mean, other thresholds, and what the figures allow."""
        counted, silent = self.counted, sum(1 for one in self.classes.values() if not one.named)
        mean = _mean(counted.values())
        rows = [_row(name, one) for name, one in counted.items()]
        rows.append([f"mean of {len(counted)}", "", "", *_means(mean["precision"], mean["recall"], mean["elsewhere"])])
        size = f", squashed to {self.size} px first" if self.size else ""
        lines = [
            f"{self.detector} on {self.source}{f', {self.split}' if self.split else ''}: {self.images:,} images{size}, "
            f"seed {self.seed}",
            "",
            table(
                (
                    "class", "images that name it", "found in", "precision %", "95%", "recall %", "95%",
                    "found elsewhere %",
                ),
                rows,
            ),
            "",
            "Precision: share of finds that a caption confirms; captions leave much out, so the truth is higher. "
            "Recall: share of the images that name it in which it is found. Elsewhere: in images that do not name it.",
            f"Classes named in fewer than {self.least} images are not listed: {len(self.classes) - len(counted)}, "
            f"{silent} of which no caption names.",
        ]  # fmt: skip
        if self.thresholds:
            at = [[f"{one.threshold:g}", *_means(one.precision, one.recall, one.elsewhere)] for one in self.thresholds]
            at = [[one[0], one[1], one[3], one[5]] for one in at]
            lines += ["", table(("score from", "precision %", "recall %", "found elsewhere %"), at)]
        doubtful = [name for name in counted if name not in self.telling]
        lines += [
            "",
            f"{len(self.telling)} of {len(counted)} classes are surely found more often where they are named.",
        ]
        if doubtful:
            lines.append(f"Not to be measured by this detector: {', '.join(doubtful)}.")
        if self.skipped:
            named = "; ".join(f"{one.name}: {one.detail}" for one in self.skipped[:_NAMED])
            lines.append(f"{len(self.skipped):,} images cannot be read and are left out ({cell(named)})")
        return "\n".join(lines)


def check_detector(
    detector: Detector,
    pairs: Sequence[Pair],
    *,
    images: int = 1000,
    size: int = 0,
    least: int = 10,
    seed: int = 0,
    source: str = "source",
    split: str = "",
    progress: Progress = SILENT,
) -> DetectorReport:
    """Look for the detector's classes in real images, and compare with the classes that any of their captions names.

    Args:
        detector: what is checked.
        pairs: records with images and English captions (or of unknown language); the first image of each is used.
        images: how many at most, drawn by the seed.
        size: pixels of a generator's images, to which these are squashed first; 0 leaves them as they are.
        least: images that must name a class before it is listed and counts towards a mean.
        seed: of the draw.
        source, split: names for the report.
        progress: told what is done.

    Raises DataError where no record has an image and an English caption, where no image can be read, and where no
    caption names a class; ConfigError for a number below its least.
    """
    for name, value, lowest in (("images", images, 1), ("size", size, 0), ("least", least, 1)):
        if value < lowest:
            raise ConfigError(f"{name} must be at least {lowest}, found {value}")
    usable = [pair for pair in pairs if pair.images and _captions(pair)]
    if not usable:
        raise DataError("no record has an image and an English caption to check a detector with", Reason.EMPTY_TEXT)
    drawn = np.random.default_rng(seed).permutation(len(usable))[:images]
    seen: list[np.ndarray] = []
    named: list[list[int]] = []
    skipped: list[Skipped] = []
    for place in progress.track(drawn, "images", len(drawn)):
        pair = usable[place]
        try:
            pixels = decode(pair.images[0])
        except DataError as error:
            skipped.append(Skipped(pair.id, error.reason, str(error)))
            continue
        pixels = prepare(pixels, Preprocess(size)) if size else pixels
        seen.append(_look(detector, pixels[np.newaxis]))
        by_caption = mentioned(_captions(pair), detector.classes)
        named.append([place for places in by_caption for place in places])
    if not seen:
        raise DataError(f"none of {len(drawn):,} images can be read: {skipped[0].detail}", skipped[0].reason)
    asked = as_matrix(named, len(detector.classes))
    if not asked.any():
        raise DataError(f"no caption names one of the {len(detector.classes)} classes of {detector.name}")
    found = np.concatenate(seen)
    thresholds: tuple[AtThreshold, ...] = ()
    if isinstance(detector, ScoringDetector):
        others = sorted({*_THRESHOLDS, detector.threshold})
        thresholds = tuple(_at(each, found >= each, asked, least) for each in others)
        found = found >= detector.threshold
    classes = dict(zip(detector.classes, agreement(found, asked), strict=True))
    return DetectorReport(
        detector.name, source, split, len(seen), size, seed, least, classes, thresholds, tuple(skipped)
    )


def _look(detector: Detector, pixels: UInt8[np.ndarray, "1 h w 3"]) -> np.ndarray:
    """Of one image: the scores where the detector has them, else what it finds."""
    return look_for_scores(detector, pixels) if isinstance(detector, ScoringDetector) else look(detector, pixels)


def _captions(pair: Pair) -> list[str]:
    return [text.value for text in pair.texts if text.lang in ("en", None)]


def _at(threshold: float, found: Bool[np.ndarray, "n c"], asked: Bool[np.ndarray, "n c"], least: int) -> AtThreshold:
    mean = _mean([one for one in agreement(found, asked) if one.named >= least])
    return AtThreshold(threshold, *(math.nan if value is None else value for value in mean.values()))


def _mean(classes: Any) -> dict[str, float | None]:
    """Of each share over the classes that have it; None where none has."""
    found = {}
    for key in ("precision", "recall", "elsewhere"):
        values = [share.value for one in classes if (share := getattr(one, key)).whole]
        found[key] = float(np.mean(values)) if values else None
    return found


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _class_json(one: Agreement) -> dict[str, Any]:
    shares = {"precision": one.precision, "recall": one.recall, "elsewhere": one.elsewhere}
    return {"named": one.named, "found": one.found, "both": one.both} | {
        key: {"value": share.value, "low": share.interval[0], "high": share.interval[1]} if share.whole else None
        for key, share in shares.items()
    }


def _row(name: str, one: Agreement) -> list[str]:
    shares = [cells for share in (one.precision, one.recall) for cells in _share(share)]
    return [name, f"{one.named:,}", f"{one.found:,}", *shares, _percent(one.elsewhere.value)]


def _means(precision: float | None, recall: float | None, elsewhere: float | None) -> list[str]:
    """The cells of a row without intervals."""
    return [_percent(precision), "", _percent(recall), "", _percent(elsewhere)]


def _share(share: Share) -> tuple[str, str]:
    low, high = share.interval
    return _percent(share.value), f"{_percent(low)} to {_percent(high)}" if share.whole else ""


def _percent(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"
