"""Which hits belong to what was asked for: a calibrated cut, so that a search for what is not there shows nothing.

The probability is that of `diptych relate`: a text belongs to this image rather than to one drawn at random, where a
half of such pairs do. It is of the pair alone, whatever else the library holds. The cut is the probability that 97 % of
related pairs reach, so hardly a right hit is lost (see `evaluation.pair_calibration.Cut`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.similarity import is_like_cosine, of_cosines
from diptych.core.types import Hit
from diptych.data.pair_list import IMAGE_IMAGE, IMAGE_TEXT, TEXT_TEXT, Kind
from diptych.evaluation.calibrations import Calibrations, calibrations_of, read_calibrations, uncalibrated
from diptych.evaluation.pair_calibration import PairCalibration

from .own_probability import Asked, is_of_video
from .reranker import Reranker

BELONGS = "belongs"  # in a hit's meta: the probability
_KINDS: dict[tuple[Asked, bool], Kind] = {
    ("text", False): IMAGE_TEXT,
    ("text", True): TEXT_TEXT,
    ("image", False): IMAGE_IMAGE,
    ("image", True): IMAGE_TEXT,
}


@dataclass(frozen=True)
class Relevant:
    """The hits that reach the cut, each with its probability in `meta` as "belongs", and how many did not.

    Hits that nothing can be said about, moments of videos, are shown without one; `unjudged` counts them.
    """

    hits: list[Hit]
    hidden: int
    unjudged: int
    least: float  # probability of the cut

    @property
    def notes(self) -> list[str]:
        """What could not be judged, in a line."""
        if not self.unjudged:
            return []
        return [f"moments of videos, shown although nothing is calibrated for them: {self.unjudged}"]

    def to_text(self) -> str | None:
        """What was hidden and what could not be judged, in a line; None where there is nothing to say."""
        hidden = (
            f"hidden of the {self.hidden + len(self.hits)} nearest: {self.hidden}, which belong to what was asked for "
            f"with a probability below {self.least:.2g}"
        )
        return "; ".join([*([hidden] if self.hidden else []), *self.notes]) or None


@dataclass(frozen=True)
class Judge:
    """Judges the hits of one search.

    Args:
        pair: the calibration of hits that are ordered by the cosine.
        compares_by: the similarity that it was fitted on.
        reranker: what has put the first in order, where something has; with its own calibration.
    """

    pair: PairCalibration
    compares_by: str
    reranker: tuple[Reranker, PairCalibration] | None = None

    def __call__(self, hits: Sequence[Hit], text: str = "") -> Relevant:
        """The hits that belong to the query, in their order; `text` is needed where they were re-ranked."""
        cosines = np.array([hit.score for hit in hits], dtype=np.float64)
        found = self.pair.probability(of_cosines(self.compares_by, cosines)[:, None]).tolist()
        cuts = [_cut(self.pair)] * len(hits)
        if self.reranker is not None:
            reranker, pair = self.reranker
            for place, one in enumerate(reranker.belonging(text, hits, pair)):
                if one is not None:
                    found[place], cuts[place] = one, _cut(pair)
        shown: list[Hit] = []
        unjudged = 0
        for hit, probability, least in zip(hits, found, cuts, strict=True):
            if is_of_video(hit):
                shown.append(hit)
                unjudged += 1
            elif probability >= least:
                shown.append(replace(hit, meta={**hit.meta, BELONGS: round(probability, 4)}))
        shown = [replace(hit, rank=rank) for rank, hit in enumerate(shown)]
        return Relevant(shown, len(hits) - len(shown), unjudged, cuts[0] if cuts else _cut(self.pair))


def judge(
    model: Any,
    named: str,
    asked: Asked,
    *,
    of_texts: bool,
    calibration: Calibrations | Path | str | None = None,
    reranker: Reranker | None = None,
) -> Judge:
    """What judges the hits of a library: by the calibration that is given, or the one that its model comes with.

    Args:
        model: the library's dual encoder, which can be loaded as `named`.
        named: goes into messages.
        asked: what the query is.
        of_texts: whether the library's items are texts.
        calibration: of `diptych relate --calibrate`, or its file.
        reranker: what puts the hits in order, if anything does.

    Raises ConfigError where nothing is calibrated, with the command that does it; else as `read_calibrations`.
    """
    kind, flags = _KINDS[asked, of_texts], f"--model {quote(named)}"
    if isinstance(calibration, str | Path):
        calibration = read_calibrations(Path(calibration).expanduser(), model.fingerprint, model.name)
    kept = calibrations_of(model) if calibration is None else calibration
    if kept is None or kind not in kept.kinds:
        raise ConfigError(f"irrelevant hits cannot be told: {uncalibrated(f'{kind} pairs and {model.name}', flags)}")
    if not is_like_cosine(kept.measures[0]):
        raise ConfigError(
            f"irrelevant hits cannot be told: {model.name} compares by {kept.measures[0]}, and a library by the cosine"
        )
    found = Judge(_with_cut(kept.kinds[kind], f"diptych relate --calibrate SOURCE {flags}"), kept.measures[0])
    if reranker is None:
        return found
    fit = f"diptych rerank fit PAIRS {flags} --reranker RERANKER"
    single = None if reranker.single is None else reranker.single.kinds.get(kind)
    if single is None:
        raise ConfigError(
            "irrelevant hits cannot be told: nothing is calibrated for an image and a text by "
            f"{reranker.cross_encoder.name} and {model.name}; leave --rerank out, or fit both: {fit}"
        )
    return replace(found, reranker=(reranker, _with_cut(single, fit)))


def _with_cut(pair: PairCalibration, command: str) -> PairCalibration:
    if pair.cut is None:
        raise ConfigError(
            "irrelevant hits cannot be told: the calibration is from an earlier version, or from diptych data filter, "
            f"and says no cut; fit it again: {command}"
        )
    return pair


def _cut(pair: PairCalibration) -> float:
    assert pair.cut is not None
    return pair.cut.probability
