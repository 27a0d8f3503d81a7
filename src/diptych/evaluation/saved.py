"""Per-query ranks inside a report's JSON, so that two reports can be compared query by query.

Every metric can be made from them again. Numbers are written as one string a draw ("0 3 12 0"),
which keeps the file short and still readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float64, Int64

from .bootstrap import Number
from .classification import DIRECTION, accuracy_numbers
from .direction import Direction, DrawRanking, numbers_of, recall_sum
from .judged import LabelledScores
from .metrics import CUTS
from .ranks import Ranks

FORMAT = "diptych-evaluation"
LABELLED = "labelled_pairs"
_TASK = ("source", "split", "languages_asked", "protocol", "modality", "images", "texts", "content")


@dataclass(frozen=True)
class SavedReport:
    """One report as `diptych eval --out` wrote it: its name, what was asked of it, and its queries' values."""

    name: str
    task: Mapping[str, Any]  # what two reports must share to be compared
    numbers: Mapping[str, Number]  # by "image_to_text R@1", ..., and "rsum" where there is one
    units: int


def ranks_json(
    directions: Mapping[str, Direction], units: int, labelled: LabelledScores | None = None
) -> dict[str, Any]:
    """JSON-ready ranks of every direction and draw, with their gains where they are not all 1, and labelled scores."""
    return {
        "units": units,
        **({LABELLED: _labelled_json(labelled)} if labelled is not None and len(labelled.labels) else {}),
        **{
            name: [
                {
                    "gallery": one.ranks.gallery,
                    "unit": _written(one.units),
                    "positives": _written(one.ranks.counts),
                    "ranks": _written(one.ranks.ranks),
                    **_gains_json(one.ranks),
                }
                for one in side.rankings
            ]
            for name, side in directions.items()
        },
    }


def _gains_json(ranks: Ranks) -> dict[str, Any]:
    if (ranks.gains == 1).all():
        return {}
    return {"gains": _numbers(ranks.gains), "relevant_from": ranks.relevant_from}


def _labelled_json(found: LabelledScores) -> dict[str, Any]:
    return {"unit": _written(found.units), "label": _numbers(found.labels), "score": _numbers(found.scores)}


def class_ranks_json(
    ranks: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], units: Int64[np.ndarray, " n"], classes: int
) -> dict[str, Any]:
    """The same of a classification: where each image's own class landed, and which it is."""
    written = {"unit": _written(units), "class": _written(labels), "ranks": _written(ranks)}
    return {"units": int(units.max()) + 1, DIRECTION: {"classes": classes, **written}}


def read_report(path: Path, name: str = "") -> SavedReport:
    """A report with its ranks. Raises DataError when the file is not one, or has no ranks."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is no report: it is not JSON ({error}); expected what eval --out wrote") from error
    return parse_report(record, name or _name_of(record, path), str(path))


def parse_report(record: Any, name: str, where: str) -> SavedReport:
    """The same from JSON values; `where` names them in errors."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{where} is no evaluation report; expected the JSON file that diptych eval --out writes")
    if "ranks" not in record:
        raise DataError(
            f"{where} holds no ranks of its queries (it is from an older Diptych): run diptych eval --out again"
        )
    try:
        return _parsed(record, name)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"the ranks in {where} are damaged ({error}); run diptych eval --out again") from error


def _parsed(record: Mapping[str, Any], name: str) -> SavedReport:
    ranks = dict(record["ranks"])
    units = int(ranks.pop("units"))
    task = {key: record.get(key) for key in _TASK}
    if DIRECTION in ranks:
        return SavedReport(name, task, _class_numbers(ranks[DIRECTION]), units)
    labelled = ranks.pop(LABELLED, None)
    numbers: dict[str, Number] = {}
    by_direction = {}
    for direction, draws in ranks.items():
        cuts = [int(metric[2:]) for metric in record[direction]["metrics"] if metric.startswith("R@")]
        by_direction[direction] = numbers_of([_ranking(draw) for draw in draws], cuts or CUTS)
        numbers |= {f"{direction} {metric}": number for metric, number in by_direction[direction].items()}
    if len(by_direction) > 1 and (rsum := recall_sum(tuple(by_direction.values()))) is not None:
        numbers["rsum"] = rsum
    if labelled is not None:
        scores, labels = (np.array(labelled[key].split(), dtype=np.float64) for key in ("score", "label"))
        numbers |= LabelledScores(scores, labels, _read(labelled["unit"])).numbers
    return SavedReport(name, task, numbers, units)


def _class_numbers(found: Mapping[str, Any]) -> dict[str, Number]:
    units, classes, ranks = (_read(found[key]) for key in ("unit", "class", "ranks"))
    if not len(units) == len(classes) == len(ranks):
        raise ValueError(f"{len(units)} images with {len(ranks)} ranks do not fit together")
    numbers = accuracy_numbers([ranks], classes, units, int(found["classes"]))
    return {f"{DIRECTION} {metric}": number for metric, number in numbers.items()}


def _ranking(draw: Mapping[str, Any]) -> DrawRanking:
    units, counts, ranks = (_read(draw[key]) for key in ("unit", "positives", "ranks"))
    if len(units) != len(counts) or int(counts.sum()) != len(ranks) or not (counts > 0).all():
        raise ValueError(f"{len(units)} queries with {len(ranks)} ranks do not fit together")
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    gains = np.array(draw["gains"].split(), dtype=np.float64) if "gains" in draw else np.ones(len(ranks))
    if len(gains) != len(ranks):
        raise ValueError(f"{len(ranks)} ranks with {len(gains)} gains do not fit together")
    found = Ranks(offsets, ranks, gains, int(draw["gallery"]), float(draw.get("relevant_from", 0.0)))
    return DrawRanking(found, units)


def _written(numbers: Int64[np.ndarray, " n"]) -> str:
    return " ".join(map(str, numbers.tolist()))


def _numbers(numbers: Float64[np.ndarray, " n"]) -> str:
    return " ".join(f"{number:.9g}" for number in numbers)


def _read(text: str) -> Int64[np.ndarray, " n"]:
    return np.array([int(word) for word in text.split()], dtype=np.int64)


def _name_of(record: Any, path: Path) -> str:
    model = record.get("model") if isinstance(record, dict) else None
    found = model.get("name") if isinstance(model, dict) else None
    return f"{found} ({path.stem})" if isinstance(found, str) else path.stem
