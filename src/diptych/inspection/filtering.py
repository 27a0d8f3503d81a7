"""Which pairs of a source belong together: scored by a model, calibrated, kept or dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.files import atomic_write, write_bytes, write_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, Float32, Float64
from diptych.core.similarity import of_cosines
from diptych.core.types import Pair, Skipped
from diptych.core.workers import Engine
from diptych.data.pair_list import IMAGE_TEXT
from diptych.data.splits import held_out
from diptych.data.write import write_pairs
from diptych.evaluation.calibration import Calibration, Criterion, Curve, calibrate, choose, curve, wrong_share
from diptych.evaluation.calibrations import Calibrations
from diptych.evaluation.embeddings import Embeddings
from diptych.evaluation.pair_calibration import PROBABILITY, PairCalibration
from diptych.evaluation.pair_scores import NEIGHBOURS, Gallery, pair_scores, with_shuffled_texts
from diptych.models import DualEncoder, as_model, require_cosine
from diptych.models.embed import EmbeddedPairs, embed_pairs

from .curves import draw_filter

Score = Literal["csls", "cosine"]
PAIRS, KEPT, REPORT, PLOT = "pairs.jsonl", "kept.jsonl", "filter.json", "filter.png"


@dataclass(frozen=True)
class FilterSettings:
    """How pairs are scored and where the line is drawn."""

    score: Score = "csls"
    neighbours: int = NEIGHBOURS
    criterion: Criterion = "probability"
    target: float = 0.5  # of probability, precision or recall; equal-error has none
    wrong: float | None = None  # share of wrong pairs in the source; None: estimated
    held_out: float = 0.5  # share of the source's records to calibrate on, where no other source is given
    seed: int = 0

    def __post_init__(self) -> None:
        if self.wrong is not None and not 0 <= self.wrong < 1:
            raise ConfigError(f"the share of wrong pairs must be from 0 to below 1, found {self.wrong}")
        if not 0 < self.held_out <= 1:
            raise ConfigError(f"the held-out share must be above 0 and at most 1, found {self.held_out}")


@dataclass(frozen=True)
class Filtered:
    """Every text of a source with its score, its probability of being right, and whether it is kept."""

    pairs: EmbeddedPairs
    scores: Float32[np.ndarray, " m"]
    probabilities: Float64[np.ndarray, " m"]
    kept: Bool[np.ndarray, " m"]
    threshold: float
    calibration: Calibration
    quality: Curve
    given: Float32[np.ndarray, " a"]  # the scores calibrated on
    wrong: Float32[np.ndarray, " b"]
    settings: FilterSettings
    skipped: tuple[Skipped, ...] = ()
    relate: Calibrations | None = None  # for single pairs, by the cosine; None where it cannot reach the target

    def to_json(self) -> dict[str, Any]:
        """A summary, JSON-ready."""
        return {
            "format": "diptych-filter",
            "version": 1,
            "settings": asdict(self.settings),
            "pairs": len(self.kept),
            "kept": int(self.kept.sum()),
            "dropped": int((~self.kept).sum()),
            "wrong_share": round(1 - self.calibration.prior, 4),
            "threshold": self.threshold,
            "calibration": {
                **asdict(self.calibration),
                "given": len(self.given),
                "shuffled": len(self.wrong),
                "auc": self.quality.auc,
                "average_precision": self.quality.average_precision,
            },
            "expected": dict(zip(("recall", "fallout", "precision"), self.expected, strict=True)),
            "skipped": [asdict(one) for one in self.skipped],
            "relate": None if self.relate is None else self.relate.to_json(),
        }

    @property
    def expected(self) -> tuple[float, float, float]:
        """At the threshold: share of right pairs kept, of wrong ones kept, and of right ones among the kept."""
        reached = np.flatnonzero(self.quality.thresholds >= self.threshold)
        place = int(reached[-1]) if len(reached) else 0
        curves = self.quality.recall, self.quality.fallout, self.quality.precision
        recall, fallout, precision = (float(one[place]) for one in curves)
        return recall, fallout, precision


def filter_pairs(
    encoder: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    calibration: Sequence[Pair] = (),
    settings: FilterSettings | None = None,
    *,
    name: str = "pairs",
    progress: Progress = SILENT,
    engine: Engine | None = None,
    workers: int = 2,
) -> Filtered:
    """Score every pair and draw the line; `name` is that of the source, or of the calibration where there is one.

    `calibration` are pairs known to be right; without them a share of the source's own records is
    used, and the wrong ones among those are taken out by their estimated share. An `engine`, such as a `RayEngine`,
    embeds the images by workers on other machines; `workers` are the threads that decode, or the cores of each of
    those. Raises DataError
    when there is too little to calibrate on, ConfigError when no threshold meets the criterion.
    """
    encoder = as_model(encoder)
    require_cosine(encoder, "the filter")
    settings = settings or FilterSettings()
    embedded = embed_pairs(encoder, pairs, workers=workers, progress=progress, engine=engine)
    for note in encoder.unfamiliar(embedded.images):
        progress.say(f"note: {note.to_text()}")
    vectors = _vectors(embedded)
    if len(embedded.places) < 2:
        raise DataError(f"found {len(embedded.places)} records with a readable image and a text; expected two or more")
    gallery = Gallery.drawn(vectors, seed=settings.seed) if settings.score == "csls" else None
    scores = pair_scores(vectors, gallery, k=settings.neighbours)
    shuffled = with_shuffled_texts(vectors, settings.seed)
    wrong_scores = pair_scores(shuffled, gallery, k=settings.neighbours)
    if calibration:
        clean = embed_pairs(encoder, calibration, workers=workers, progress=progress, engine=engine)
        known = _vectors(clean)
        sides = known, with_shuffled_texts(known, settings.seed)
        given, wrong = (pair_scores(side, gallery, k=settings.neighbours, foreign=True) for side in sides)
        cosines = [pair_scores(side, None) for side in sides]
        # the same estimate on pairs known to be right says how much of it is no wrong pair
        estimated = max(0.001, wrong_share(scores, wrong_scores) - wrong_share(given, wrong))
    else:
        chosen = np.array([held_out(pairs[place].identity, settings.held_out) for place in embedded.places])[
            embedded.owner
        ]
        given, wrong = scores[chosen], wrong_scores[chosen]
        cosines = [pair_scores(side, None)[chosen] for side in (vectors, shuffled)]
        estimated = wrong_share(scores, wrong_scores)
    share = estimated if settings.wrong is None else settings.wrong
    contamination = 0.0 if calibration else share
    calibrated = calibrate(given, wrong, contamination=contamination, prior=1 - share)
    quality = curve(given, wrong, contamination=contamination, prior=1 - share)
    threshold = choose(calibrated, quality, settings.criterion, settings.target)
    similar = [of_cosines(encoder.compares_by, side) for side in cosines]  # what relate asks by
    single = _of_single_pairs(similar[0], similar[1], settings, contamination=contamination, prior=1 - share)
    kept = None
    if single is not None:
        kept = Calibrations(encoder.fingerprint, encoder.name, (encoder.compares_by,), name, {IMAGE_TEXT: single})
    return Filtered(
        embedded,
        scores,
        calibrated.probability(scores),
        scores >= threshold,
        threshold,
        calibrated,
        quality,
        given,
        wrong,
        settings,
        embedded.skipped,
        kept,
    )


def _of_single_pairs(
    given: Float64[np.ndarray, " a"],
    wrong: Float64[np.ndarray, " b"],
    settings: FilterSettings,
    *,
    contamination: float,
    prior: float,
) -> PairCalibration | None:
    """The same line by the similarity, which needs no other pairs; None where it does not reach the target."""
    try:
        fitted = calibrate(given, wrong, contamination=contamination, prior=prior)
        outcome = curve(given, wrong, contamination=contamination, prior=prior)
        line = choose(fitted, outcome, settings.criterion, settings.target)
    except (ConfigError, DataError):  # only the filter's own score is good enough
        return None
    made = PairCalibration.of(fitted, right=len(given), wrong=len(wrong))
    if settings.criterion == PROBABILITY:
        return replace(made, least=settings.target)
    least = float(np.clip(made.probability(np.array([[line]]))[0], 1e-6, 1 - 1e-6))
    return replace(made, least=least, criterion=settings.criterion)


def write_filtered(result: Filtered, pairs: Sequence[Pair], out: Path, title: str = "") -> dict[str, Path]:
    """Write the verdict on every pair, the source of kept pairs, a report and the plot into the folder `out`."""
    files = {name: out / name for name in (PAIRS, KEPT, REPORT, PLOT)}
    with atomic_write(files[PAIRS]) as stream:
        for line in _verdicts(result, [pair.identity for pair in pairs]):
            stream.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
    write_pairs(files[KEPT], kept_pairs(result, pairs))
    write_json(files[REPORT], result.to_json())
    write_bytes(files[PLOT], draw_filter(result.quality, result.given, result.wrong, result.threshold, title))
    return files


def kept_pairs(result: Filtered, pairs: Sequence[Pair]) -> Iterator[Pair]:
    """The pairs with only the texts that are kept; a pair without any is left out."""
    kept = np.split(result.kept, np.flatnonzero(np.diff(result.pairs.owner)) + 1)
    for place, keeps in zip(result.pairs.places, kept, strict=True):
        pair = pairs[place]
        left = tuple(text for text, keep in zip(pair.texts, keeps, strict=True) if keep)
        if left:
            yield replace(pair, texts=left)


def _vectors(embedded: EmbeddedPairs) -> Embeddings:
    return Embeddings(embedded.images, embedded.texts, embedded.owner, image_owner=embedded.image_owner)


def _verdicts(result: Filtered, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    pairs = result.pairs
    for place, owner in enumerate(pairs.owner):
        yield {
            "record": keys[pairs.places[owner]],
            "id": pairs.ids[owner],
            "text": pairs.values[place],
            "lang": pairs.languages[place],
            "field": pairs.fields[place],
            "score": round(float(result.scores[place]), 5),
            "probability": round(float(result.probabilities[place]), 5),
            "keep": bool(result.kept[place]),
        }
