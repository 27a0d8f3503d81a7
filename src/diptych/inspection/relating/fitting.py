"""Fitting a calibration: on the records of a source, or on pairs that are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool
from diptych.core.types import Pair, Skipped
from diptych.data.pair_list import IMAGE_IMAGE, IMAGE_TEXT, KINDS, TEXT_TEXT, Asked, Kind
from diptych.evaluation.pair_calibration import FEWEST, PairCalibration, fit_pairs

from .judges import Calibrations
from .scoring import PairScorer

MOST = 2000  # pairs of either kind that a calibration is fitted on
_TRIES = 20  # draws of an unrelated record before a pair is left out


@dataclass(frozen=True)
class Drawn:
    """Related and unrelated pairs of one kind; `halves` says which of each are of the first half of the records."""

    right: list[Asked]
    wrong: list[Asked]
    halves: tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " m"]]


@dataclass(frozen=True)
class _Member:
    """A record, or a class of images: what stands on either side of its pairs, and what tells it from others."""

    firsts: tuple[Any, ...]
    seconds: tuple[Any, ...]
    texts: frozenset[str] = frozenset()
    group: str | None = None

    def is_stranger(self, other: _Member) -> bool:
        """Whether a pair with a side of each is unrelated, as far as the source says."""
        is_alike = self.group is not None and self.group == other.group
        return other is not self and not is_alike and not (self.texts & other.texts)


def drawn_pairs(pairs: Sequence[Pair], kind: Kind, *, most: int = MOST, seed: int = 0) -> Drawn:
    """Related pairs of a source, one a record and at most so many, and as many unrelated ones, drawn at random.

    image-text: an image and a text of a record. text-text: two texts of a record. image-image: two images of a record
    or, where no record has two, of a class. The other side of an unrelated pair is of another record of the same half,
    with no text in common and of another class.
    """
    members, is_of_classes = _members(pairs, kind)
    draw = np.random.default_rng(seed)
    turns = [(member, first) for member in members for first in range(len(member.firsts) if is_of_classes else 1)]
    turns = [turns[place] for place in np.sort(draw.permutation(len(turns))[:most])]
    kept = list(dict.fromkeys(id(member) for member, _ in turns))
    in_first = dict(zip(kept, draw.permutation(len(kept)) < len(kept) // 2, strict=True))
    others: dict[bool, list[_Member]] = {half: [] for half in (True, False)}
    for member in {id(member): member for member, _ in turns}.values():
        others[bool(in_first[id(member)])].append(member)
    found: dict[bool, list[tuple[Asked, bool]]] = {True: [], False: []}
    for member, place in turns:
        first = member.firsts[place if is_of_classes else draw.integers(len(member.firsts))]
        half = bool(in_first[id(member)])
        seconds = [one for one in member.seconds if one is not first]
        strangers = (others[half][at] for at in draw.integers(len(others[half]), size=_TRIES))
        stranger = next((one for one in strangers if member.is_stranger(one)), None)
        found[True].append((Asked(first, seconds[draw.integers(len(seconds))], kind), half))
        if stranger is not None:
            found[False].append((Asked(first, stranger.seconds[draw.integers(len(stranger.seconds))], kind), half))
    halves = [np.array([half for _, half in side], dtype=np.bool_) for side in found.values()]
    return Drawn([one for one, _ in found[True]], [one for one, _ in found[False]], (halves[0], halves[1]))


def _members(pairs: Sequence[Pair], kind: Kind) -> tuple[list[_Member], bool]:
    """What pairs of a kind can be drawn from, and whether that is classes of images."""
    found = []
    for pair in pairs:
        texts = tuple(dict.fromkeys(text.value for text in pair.texts))
        firsts, seconds = {
            IMAGE_TEXT: (pair.images, texts),
            TEXT_TEXT: (texts, texts),
            IMAGE_IMAGE: (pair.images, pair.images),
        }[kind]
        if len(firsts) and len(seconds) >= (1 if kind == IMAGE_TEXT else 2):
            found.append(_Member(firsts, seconds, frozenset(texts), pair.group))
    if found or kind != IMAGE_IMAGE:
        return found, False
    classes: dict[str, list[Any]] = {}
    for pair in pairs:
        if pair.group:
            classes.setdefault(pair.group, []).extend(pair.images)
    return [_Member(tuple(own), tuple(own), group=name) for name, own in classes.items() if len(own) > 1], True


def fit_calibrations(
    scorer: PairScorer,
    pairs: Sequence[Pair],
    source: str,
    *,
    prior: float = 0.5,
    least: float = 0.5,
    most: int = MOST,
    seed: int = 0,
    skipped: list[Skipped],
    progress: Progress = SILENT,
) -> Calibrations:
    """A calibration for each kind that can be scored and of which the source has 20 related pairs and more.

    Args:
        scorer: gives the scores.
        pairs: the records, which the model should not have been trained on.
        source: its name.
        prior: share of related pairs among those that will be asked about.
        least: probability from which on a pair is related.
        most: pairs of each kind.
        seed: of the draw.
        skipped: where images that cannot be read are named.
        progress: told about embedding.

    Raises DataError where no kind can be fitted.
    """
    fitted: dict[Kind, PairCalibration] = {}
    left_out: dict[Kind, str] = {}
    for kind in scorer.kinds:
        drawn = drawn_pairs(pairs, kind, most=most, seed=seed)
        if min(len(drawn.right), len(drawn.wrong)) < FEWEST:
            left_out[kind] = (
                f"found {len(drawn.right)} related and {len(drawn.wrong)} unrelated pairs of {source}, expected "
                f"{FEWEST} or more of each"
            )
            continue
        there, scores = scorer.scores([*drawn.right, *drawn.wrong], skipped, progress=progress)
        is_right = there < len(drawn.right)
        halves = np.concatenate(drawn.halves)[there]
        try:
            fitted[kind] = fit_pairs(
                scores[is_right], scores[~is_right], (halves[is_right], halves[~is_right]), prior=prior, least=least
            )
        except DataError as error:
            left_out[kind] = str(error)
    if not fitted:
        raise DataError("; ".join(f"{kind}: {why}" for kind, why in left_out.items()))
    return Calibrations(scorer.fingerprint, scorer.name, scorer.measures, source, fitted, left_out)


def fit_labelled(
    scorer: PairScorer,
    pairs: Sequence[Asked],
    source: str,
    *,
    prior: float | None = None,
    least: float = 0.5,
    seed: int = 0,
    skipped: list[Skipped],
    progress: Progress = SILENT,
) -> Calibrations:
    """As `fit_calibrations`, on pairs that are labelled related or not; others are left out.

    The prior is the share of related ones among them unless it is given.
    """
    fitted: dict[Kind, PairCalibration] = {}
    left_out: dict[Kind, str] = {}
    for kind in KINDS:
        some = [pair for pair in pairs if pair.kind == kind and pair.label is not None]
        if not some:
            continue
        there, scores = scorer.scores(some, skipped, progress=progress)
        labels = np.array([some[place].label for place in there], dtype=np.bool_)
        half = np.random.default_rng(seed).permutation(len(labels)) < len(labels) // 2
        share = prior if prior is not None else float(np.clip(labels.mean(), 0.01, 0.99)) if len(labels) else 0.5
        try:
            fitted[kind] = fit_pairs(
                scores[labels], scores[~labels], (half[labels], half[~labels]), prior=share, least=least
            )
        except DataError as error:
            left_out[kind] = str(error)
    if not fitted:
        detail = "; ".join(f"{kind}: {why}" for kind, why in left_out.items())
        raise DataError(f"{source} has nothing to fit: {detail or 'no row has a label (1 or 0)'}")
    return Calibrations(scorer.fingerprint, scorer.name, scorer.measures, source, fitted, left_out)
