"""What raters chose: shares with intervals, differences, and how far the raters agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.markdown import cell, table
from diptych.core.shapes import Int64
from diptych.evaluation.agreement import Agreement, krippendorff_alpha
from diptych.evaluation.bootstrap import (
    Addend,
    Difference,
    Interval,
    Number,
    Resampling,
    Sample,
    holm,
    paired_difference,
)
from diptych.evaluation.direction import Estimate
from diptych.evaluation.generative import estimate_of_mean

from .answers import RaterAnswers, Refused, answer_files, read_answers
from .study import QUESTIONS, Study

FORMAT = 1


@dataclass(frozen=True)
class Share:
    """How often a system was chosen, from 0 to 1."""

    system: str
    chosen: Estimate


@dataclass(frozen=True)
class Versus:
    """The share of one system minus that of another. `p_value` is corrected for the number of differences (Holm)."""

    first: str
    second: str
    difference: Difference
    p_value: float


@dataclass(frozen=True)
class Answered:
    """What came out for one question."""

    question: str  # its name, or the sentence itself
    asked: str  # the sentence
    answers: int
    complete: int  # texts that every rater of the study has answered
    shares: tuple[Share, ...]
    versus: tuple[Versus, ...]
    agreement: Agreement


@dataclass(frozen=True)
class Rater:
    """One rater's file."""

    rater: int
    file: str
    answers: int
    seconds: float | None  # median for an answer
    first_place: float | None  # share of answers that took the image shown first


@dataclass(frozen=True)
class RatingReport:
    """Everything that the answers say."""

    study: str
    systems: tuple[str, ...]
    texts: int
    raters_asked: int
    steps: int  # answers that each rater was asked for
    seed: int
    questions: tuple[Answered, ...]
    raters: tuple[Rater, ...]
    places: tuple[float, ...]  # share of answers by the place on the screen
    refused: tuple[Refused, ...]
    remarks: tuple[str, ...] = ()

    @property
    def unusable(self) -> bool:
        """Whether a file was refused for what is in it, and not because another one has all its answers."""
        return any(not one.repeated for one in self.refused)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": FORMAT, "kind": "rating", "chance": 1 / len(self.systems), **asdict(self)}

    def to_text(self) -> str:
        """Markdown for a person."""
        found = sum(one.answers for one in self.raters)
        lines = [
            f"{len(self.systems)} systems on {self.texts:,} texts, {len(self.raters)} of {self.raters_asked} raters: "
            f"{found:,} of {self.raters_asked * self.steps:,} answers"
        ]
        for one in self.questions:
            lines += ["", f"**{cell(one.asked)}**", "", *self._question(one)]
        cells = [
            [
                str(one.rater),
                f"{one.answers:,} of {self.steps:,}",
                _number(one.seconds),
                _percent(one.first_place),
            ]
            for one in self.raters
        ]
        lines += ["", table(("rater", "answers", "seconds (median)", "took the first image %"), cells)]
        shown = ", ".join(f"{100 * share:.1f} %" for share in self.places)
        lines += ["", f"chosen by place on the screen: {shown} (chance {100 / len(self.systems):.1f} %)"]
        unused = [f"not used: {one.file}: {one.why}" for one in self.refused]
        if unused or self.remarks:
            lines += ["", *(f"- {remark}" for remark in (*self.remarks, *unused))]
        return "\n".join(lines)

    def _question(self, one: Answered) -> list[str]:
        if not one.answers:
            return ["no answers"]
        chance = f"{100 / len(self.systems):.1f}"
        rows = [
            [cell(share.system), _percent(share.chosen.value), _range(share.chosen.interval), chance]
            for share in one.shares
        ]
        lines = [table(("system", "chosen first %", "95%", "chance"), rows), ""]
        if one.complete < self.texts:
            lines.append(
                f"- {one.complete:,} of {self.texts:,} texts have the answers of all {self.raters_asked} raters; "
                f"{one.answers / self.texts:.1f} answers a text on average"
            )
        for each in one.versus:
            bounds = each.difference.interval
            lines.append(
                f"- {each.first} minus {each.second}: {100 * each.difference.value:+.1f} points "
                f"({100 * bounds.low:+.1f} to {100 * bounds.high:+.1f}), p = {each.p_value:.3g}"
            )
        return [*lines, f"- agreement: {_agreement(one.agreement)}"]


def rated(study: Study, paths: Sequence[Path], *, resamples: int = 1000, seed: int = 0) -> RatingReport:
    """What raters chose, from the files that they saved; folders stand for their JSON files.

    Intervals resample texts: the answers to one text go together. Raises DataError when no file is usable.
    """
    raters, refused = read_answers(study, answer_files(paths))
    rows = np.array([(one.rater, *answer) for one in raters for answer in one.answers], dtype=np.int64).reshape(-1, 6)
    places = np.array(study.places, dtype=np.int64)
    _, text, question, image, place, _ = rows.T
    system = places[text, image]
    answered = tuple(
        _answered(study, name, text[question == number], system[question == number], resamples, seed)
        for number, name in enumerate(study.questions)
    )
    shown = np.bincount(place, minlength=len(study.systems)) / max(1, len(place))
    return RatingReport(
        study.id,
        study.systems,
        len(study.texts),
        study.raters,
        study.steps,
        seed,
        answered,
        tuple(map(_rater, raters)),
        tuple(map(float, shown)),
        tuple(refused),
        (*study.remarks, *_incomplete(study, raters)),
    )


def _answered(
    study: Study,
    name: str,
    text: Int64[np.ndarray, " n"],
    system: Int64[np.ndarray, " n"],
    resamples: int,
    seed: int,
) -> Answered:
    """One question: the text of each answer and the system that it chose."""
    counts = np.zeros((len(study.texts), len(study.systems)), dtype=np.int64)
    np.add.at(counts, (text, system), 1)
    complete = int((counts.sum(axis=1) == study.raters).sum())
    agreement = krippendorff_alpha(counts, resamples=resamples, seed=seed)
    asked = QUESTIONS.get(name, name)
    if not len(text):
        return Answered(name, asked, 0, 0, (), (), agreement)
    chosen = [(system == number).astype(np.float64) for number in range(len(study.systems))]
    shares = [
        Share(of, estimate_of_mean(values, text, resamples=resamples, seed=seed))
        for of, values in zip(study.systems, chosen, strict=True)
    ]
    versus: list[Versus] = []
    if resamples:
        units = np.unique(text, return_inverse=True)[1].astype(np.int64)
        numbers = [Number((Addend((Sample(values, units),)),)) for values in chosen]
        resampling = Resampling(int(units.max()) + 1, resamples, seed)
        both = list(combinations(range(len(study.systems)), 2))
        found = [paired_difference(numbers[second], numbers[first], resampling) for first, second in both]
        corrected = holm([one.p_value for one in found])
        versus = [
            Versus(study.systems[first], study.systems[second], difference, p_value)
            for (first, second), difference, p_value in zip(both, found, corrected, strict=True)
        ]
    return Answered(name, asked, len(text), complete, tuple(shares), tuple(versus), agreement)


def _rater(one: RaterAnswers) -> Rater:
    if not one.answers:
        return Rater(one.rater, one.file, 0, None, None)
    *_, place, milliseconds = np.array(one.answers).T
    seconds = float(np.median(milliseconds)) / 1000
    return Rater(one.rater, one.file, len(one.answers), seconds, float((place == 0).mean()))


def _incomplete(study: Study, raters: Sequence[RaterAnswers]) -> list[str]:
    """Whose answers are missing, in words."""
    remarks = []
    there = {one.rater for one in raters}
    if missing := [str(rater) for rater in range(1, study.raters + 1) if rater not in there]:
        remarks.append(f"no usable file of rater {', '.join(missing)}")
    remarks += [
        f"{one.file} is not complete: {len(one.answers):,} of {study.steps:,} answers, which are used"
        for one in raters
        if len(one.answers) < study.steps
    ]
    return remarks


def _agreement(found: Agreement) -> str:
    """How far the raters agree, in words."""
    if not found.units:
        return "no text has answers of two raters"
    if found.alpha is None:
        return "every answer is the same system, and Krippendorff's alpha is not defined"
    bounds = f" ({found.interval.low:.3f} to {found.interval.high:.3f})" if found.interval else ""
    return (
        f"Krippendorff's alpha {found.alpha:.3f}{bounds}, nominal, {found.units:,} texts; two raters of a text choose "
        f"the same system in {_percent(found.agreeing)} % of cases"
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _range(interval: Interval | None) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}" if interval else ""
