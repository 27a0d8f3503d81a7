"""Fitting a calibration: on the records of a source, or on pairs that are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool
from diptych.core.types import Pair, Skipped
from diptych.data.pair_list import IMAGE_IMAGE, IMAGE_TEXT, KINDS, TEXT_TEXT, Asked, Kind
from diptych.evaluation.calibrations import Calibrations
from diptych.evaluation.pair_calibration import AT_RANDOM, FEWEST, LABELLED, PairCalibration, fit_pairs

from .scoring import PairScorer

MOST = 2000  # pairs of either kind that a calibration is fitted on
_TRIES = 20  # draws of an unrelated record before a pair is left out


@dataclass(frozen=True)
class Drawn:
    """Related and unrelated pairs of one kind; `halves` says which of each are of the first half of the records.

    `unrelated` says where the latter come from: drawn at random, or labelled so by the source.
    """

    right: list[Asked]
    wrong: list[Asked]
    halves: tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " m"]]
    unrelated: str = AT_RANDOM


@dataclass(frozen=True)
class _Member:
    """A record, or a class of images: what stands on either side of its pairs, and what tells it from others.

    `unrelated` are second sides that the source says are unrelated.
    """

    firsts: tuple[Any, ...]
    seconds: tuple[Any, ...]
    unrelated: tuple[Any, ...] = ()
    texts: frozenset[str] = frozenset()
    group: str | None = None

    def is_stranger(self, other: _Member) -> bool:
        """Whether a pair with a side of each is unrelated, as far as the source says."""
        is_alike = self.group is not None and self.group == other.group
        return other is not self and not is_alike and not (self.texts & other.texts)


def drawn_pairs(pairs: Sequence[Pair], kind: Kind, *, most: int = MOST, seed: int = 0) -> Drawn:
    """Related pairs of a source, one a record and at most so many, and unrelated ones, drawn at random.

    image-text: an image and a text of a record. text-text: a query and a document of it, or two texts of a record.
    image-image: two images of a record or, where no record has two, of a class. The other side of an unrelated pair is
    of another record of the same half, with no text in common and of another class. Where a source labels 20 documents
    and more as unrelated to their query, these are taken instead: labels are halved at the middle of their
    scale, which itself is related, as is 1 of 0, 1 and 2.
    """
    members, is_of_classes = _members(pairs, kind)
    is_labelled = sum(len(member.unrelated) for member in members) >= FEWEST
    members = [member for member in members if member.seconds or (is_labelled and member.unrelated)]
    draw = np.random.default_rng(seed)
    turns = [(member, first) for member in members for first in range(len(member.firsts) if is_of_classes else 1)]
    turns = [turns[place] for place in np.sort(draw.permutation(len(turns))[:most])]
    kept = list({id(member): member for member, _ in turns}.values())
    first_half = draw.permutation(len(kept)) < len(kept) // 2
    half_of = {id(member): bool(half) for member, half in zip(kept, first_half, strict=True)}
    others = {half: [member for member in kept if half_of[id(member)] == half] for half in (True, False)}
    found: dict[bool, list[tuple[Asked, bool]]] = {True: [], False: []}
    for member, place in turns:
        first = member.firsts[place if is_of_classes else draw.integers(len(member.firsts))]
        half = half_of[id(member)]
        seconds = [one for one in member.seconds if one is not first]
        unrelated = member.unrelated
        if not is_labelled:
            strangers = (others[half][at] for at in draw.integers(len(others[half]), size=_TRIES))
            unrelated = next((one.seconds for one in strangers if member.is_stranger(one)), ())
        for is_right, second_sides in ((True, seconds), (False, unrelated)):
            if len(second_sides):
                second = second_sides[draw.integers(len(second_sides))]
                found[is_right].append((Asked(first, second, kind), half))
    halves = [np.array([half for _, half in side], dtype=np.bool_) for side in found.values()]
    right, wrong = ([pair for pair, _ in side] for side in found.values())
    return Drawn(right, wrong, (halves[0], halves[1]), LABELLED if is_labelled else AT_RANDOM)


def _members(pairs: Sequence[Pair], kind: Kind) -> tuple[list[_Member], bool]:
    """What pairs of a kind can be drawn from, and whether that is classes of images."""
    labels = [text.label for pair in pairs for text in pair.documents if text.label is not None]
    middle = max(labels, default=0.0) / 2
    found = []
    for pair in pairs:
        texts = tuple(dict.fromkeys(text.value for text in pair.texts))
        unrelated: tuple[str, ...] = ()
        firsts: tuple[Any, ...] = pair.images
        seconds: tuple[Any, ...] = texts if kind == IMAGE_TEXT else pair.images
        if kind == TEXT_TEXT and (pair.queries or pair.documents):
            firsts = tuple(text.value for text in pair.queries)
            far = {
                text.value
                for text in pair.documents
                if text.label is not None and (not text.label or text.label < middle)
            }
            seconds = tuple(text.value for text in pair.documents if text.value not in far)
            unrelated = tuple(far)
        elif kind == TEXT_TEXT:
            firsts = seconds = texts
        fewest = 2 if firsts is seconds else 1
        if firsts and (len(seconds) >= fewest or unrelated):
            found.append(_Member(firsts, seconds, tuple(sorted(unrelated)), frozenset(texts), pair.group))
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
            made = fit_pairs(
                scores[is_right], scores[~is_right], (halves[is_right], halves[~is_right]), prior=prior, least=least
            )
            fitted[kind] = replace(made, unrelated=drawn.unrelated)
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
            made = fit_pairs(scores[labels], scores[~labels], (half[labels], half[~labels]), prior=share, least=least)
            fitted[kind] = replace(made, unrelated=LABELLED)
        except DataError as error:
            left_out[kind] = str(error)
    if not fitted:
        detail = "; ".join(f"{kind}: {why}" for kind, why in left_out.items())
        raise DataError(f"{source} has nothing to fit: {detail or 'no row has a label (1 or 0)'}")
    return Calibrations(scorer.fingerprint, scorer.name, scorer.measures, source, fitted, left_out)
