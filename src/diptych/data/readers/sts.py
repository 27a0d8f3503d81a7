"""Semantic textual similarity: two sentences and how alike they are, 0 (not at all) to 5 (the same).

The STS benchmark's files (Cer et al., arXiv 1708.00055) are tab-separated, without a header or quotes:

    sts-dev.csv: genre, file, year, number, score, sentence, sentence (, licences)

SemEval's are pairs of files with a line for each pair: STS.input.NAME.txt (two sentences, a tab between them) and
STS.gs.NAME.txt (the score; empty where there is none).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.types import Pair, Role

from .files import file_split
from .reading import Reading
from .sides import LabelReader, with_role
from .textfile import head, lines

SCALE = "0:5"
_BENCHMARK = re.compile(r"sts-(train|dev|test)\.(csv|tsv|txt)", re.IGNORECASE)
_INPUT = re.compile(r"STS\.input\.(.+)\.txt")


def find(path: Path) -> list[Path]:
    """The files of sentences: the file itself, or those of the folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if _is_benchmark(file) or _scores_of(file) is not None]


def _is_benchmark(path: Path) -> bool:
    if not (_BENCHMARK.fullmatch(path.name) and path.is_file()):
        return False
    cells = head(path).split(b"\n")[0].split(b"\t")
    return len(cells) >= 7 and re.fullmatch(rb"\d+(\.\d*)?", cells[4].strip()) is not None


def _scores_of(path: Path) -> Path | None:
    matched = _INPUT.fullmatch(path.name)
    scores = path.with_name(f"STS.gs.{matched[1]}.txt") if matched else path
    return scores if matched and scores.is_file() and path.is_file() else None


@register.reader("sts", "STS benchmark or SemEval: two sentences and a score from 0 to 5")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a line, whose second sentence has the score as its label; `--label-scale` states another scale."""
    files = find(reading.path)
    if not files:
        raise DataError(
            f"{reading.path} has no sts-train.csv, sts-dev.csv or sts-test.csv, and no STS.input.*.txt with its "
            "STS.gs.*.txt",
            Reason.MISSING,
        )
    if reading.options.label_scale is None:
        reading = replace(reading, options=replace(reading.options, label_scale=SCALE))
    labels = LabelReader(reading)
    for path in files:
        split = _split_of(path) or file_split(reading, path)
        for where, score, sentences in _rows(reading, path):
            label = labels.read(score, where)
            texts = [reading.texts(where, [sentence]) for sentence in sentences] if label is not None else []
            if all(texts) and texts:
                query, document = (one[0] for one in texts)
                sides = (*with_role([query], Role.QUERY), *with_role([document], Role.DOCUMENT, label))
                yield Pair(where, (), sides, split, is_named=False)


def _split_of(path: Path) -> str | None:
    matched = _BENCHMARK.fullmatch(path.name)
    return {"train": "train", "dev": "val", "test": "test"}[matched[1].lower()] if matched else None


def _rows(reading: Reading, path: Path) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """(place, score, two sentences) of each line that has them."""
    scores = _scores_of(path)
    if scores is None:
        for where, line in lines(reading, path):
            cells = line.split("\t")
            if len(cells) >= 7:
                yield where, cells[4], (cells[5], cells[6])
            else:
                reading.skip(where, Reason.BAD_ROW, f"{len(cells)} cells; expected 7: the score is the fifth")
        return
    given = scores.read_text(encoding="utf-8").split("\n")  # blank lines count: line i is the score of pair i
    for where, line in lines(reading, path):
        number = int(where.rpartition(" ")[2])
        cells = line.split("\t")
        score = given[number - 1].strip() if number <= len(given) else ""
        if len(cells) < 2:
            reading.skip(where, Reason.BAD_ROW, "one sentence; expected two with a tab between them")
        elif score:
            yield where, score, (cells[0], cells[1])
        else:
            reading.note("no_label", "pairs without a score, not read", where)
