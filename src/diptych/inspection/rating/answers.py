"""Answers of raters: files that the page wrote, checked against the key."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason

from .study import FORMAT, KEY, Study

Answer = tuple[int, int, int, int, int]  # text, question, image, place on the screen, milliseconds


@dataclass(frozen=True)
class RaterAnswers:
    """One rater's file."""

    rater: int  # from 1
    file: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Refused:
    """A file that is not used, and why."""

    file: str
    why: str
    repeated: bool = False  # nothing is lost: another file has all its answers


def answer_files(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and the JSON files of the folders that are; a key is no answer.

    Raises DataError when there is none.
    """
    found = []
    for path in paths:
        found += sorted(one for one in path.glob("*.json") if one.name != KEY) if path.is_dir() else [path]
    if not found:
        raise DataError("there are no files of answers to read; give the files that raters saved", Reason.MISSING)
    return found


def read_answers(study: Study, paths: Iterable[Path]) -> tuple[list[RaterAnswers], list[Refused]]:
    """The answers of each rater, in the order of the raters, and the files that are not used.

    A file is refused when it is damaged, of another page, or was changed after the page wrote it, and when a rater's
    number has other answers in another file. Of two files of one rater, of which one goes on from the other, the longer
    is used. Raises DataError when no file is usable.
    """
    refused: list[Refused] = []
    by_rater: dict[int, list[RaterAnswers]] = {}
    for path in paths:
        try:
            found = _read(study, path)
        except DataError as error:
            refused.append(Refused(str(path), str(error)))
        else:
            by_rater.setdefault(found.rater, []).append(found)
    used = [_longest(by_rater[rater], refused) for rater in sorted(by_rater)]
    kept = [one for one in used if one is not None]
    if not kept:
        why = "; ".join(f"{one.file}: {one.why}" for one in refused)
        raise DataError(f"no file of answers can be used: {why}")
    return kept, refused


def _longest(files: Sequence[RaterAnswers], refused: list[Refused]) -> RaterAnswers | None:
    """The file that has all answers of the others; none of them when two differ, since two people may have answered."""
    longest = max(files, key=lambda one: len(one.answers))
    every = set(longest.answers)
    if any(not every.issuperset(one.answers) for one in files):
        names = " and ".join(one.file for one in files)
        why = f"{names} have different answers of rater {longest.rater}; keep the one to use"
        refused += [Refused(one.file, why) for one in files]
        return None
    others = [one for one in files if one is not longest]
    refused += [Refused(one.file, f"all its answers are in {longest.file} too", repeated=True) for one in others]
    return longest


def _read(study: Study, path: Path) -> RaterAnswers:
    """One file. Raises DataError with what is wrong with it."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror or error}", Reason.MISSING) from error
    except (ValueError, RecursionError) as error:
        raise DataError("is no JSON; expected a file that the rating page saved") from error
    if not isinstance(content, dict) or content.get("kind") != "ratings" or content.get("format") != FORMAT:
        raise DataError("holds no answers; expected a file that the rating page saved")
    if content.get("study") != study.id:
        raise DataError(f"has the answers of another page ({content.get('study')}; the key is of {study.id})")
    rater, answers = content.get("rater"), content.get("answers")
    if not _within(rater, study.raters + 1) or not rater:
        raise DataError(f"is of rater {rater!r}; the page has raters 1 to {study.raters}")
    limits = (len(study.texts), len(study.questions), len(study.systems), len(study.systems), None)
    if not isinstance(answers, list):
        raise DataError("holds no list of answers; expected a file that the rating page saved")
    for answer in answers:
        if not isinstance(answer, list) or len(answer) != len(limits) or not all(map(_within, answer, limits)):
            raise DataError(f"was edited: {answer!r} is no answer to this page")
    if len({(text, question) for text, question, *_ in answers}) < len(answers):
        raise DataError("was edited: a question is answered twice")
    if content.get("check") != check_number(study.id, rater, answers):
        raise DataError("was edited after the page saved it: its check number does not fit; ask for the file as saved")
    return RaterAnswers(rater, str(path), tuple(tuple(answer) for answer in answers))


def _within(value: Any, limit: int | None) -> bool:
    """Whether it is a whole number from 0 to below the limit."""
    return type(value) is int and value >= 0 and (limit is None or value < limit)


def check_number(study: str, rater: int, answers: Sequence[Sequence[int]]) -> str:
    """CRC-32 of the answers, as the page computes it: it shows a change by accident or by hand, no forgery."""
    content = json.dumps([study, rater, [list(one) for one in answers]], separators=(",", ":"))
    return f"{zlib.crc32(content.encode()):08x}"
