"""A training run as one page: curves, samples by step, measures, what it makes, and whether it copies."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError, Reason

from . import page
from .measure import Looked
from .outcome import Outcome

LOG, SAMPLES, MEASURES = "log.jsonl", "samples", "measures.json"
_GRIDS = 8  # sample sheets shown
_EACH = 12  # pictures shown of a kind
_NEAR = 12  # pictures shown with their nearest training pictures
_AXES = ("step", "epoch", "round")
_NOT_DRAWN = ("time", "seconds", "timestamp")


def run_html(run: Path, outcome: Outcome | None = None, looked: Looked | None = None) -> str:
    """The page of a run's folder. Without `outcome` the measures in RUN/measures.json are shown, where they are.

    Raises DataError for a folder that holds neither a log nor samples nor measures.
    """
    rows = read_log(run / LOG)
    grids = sample_grids(run)
    if not rows and not grids and outcome is None:
        raise DataError(f"{run} holds no {LOG}, {SAMPLES}/ or {MEASURES}; expected the folder of a run", Reason.MISSING)
    sections = [
        ("Measures", _measures(outcome) if outcome else ""),
        ("Objects found", _objects(outcome) if outcome else ""),
        ("What it makes of new texts", _made(looked) if looked else ""),
        ("Nearest training pictures", _nearest(looked) if looked else ""),
        ("Samples by step", _samples(grids)),
        ("Curves", _curves(rows)),
    ]
    lead = f"Run {run.resolve().name}"
    if rows:
        axis = _axis(rows)
        lead += f", {axis} {rows[-1].get(axis, len(rows))}" if axis else f", {len(rows)} rows"
    if outcome is not None:
        lead += (
            f"; measured on {outcome.texts:,} texts of {outcome.source}{f' ({outcome.split})' if outcome.split else ''}"
        )
    return page.page(run.resolve().name, lead + ".", sections)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; none where there is no file. A last line that is cut, as in a running job, is left out.

    Raises DataError for a line that is no JSON object.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path} line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is no JSON object")
        rows.append(row)
    return rows


def sample_grids(run: Path) -> list[tuple[int, Path]]:
    """(step, file) of the sample sheets, by step: samples/step-000500.png."""
    found = []
    for path in (run / SAMPLES).glob("*.png") if (run / SAMPLES).is_dir() else ():
        match = re.search(r"(\d+)", path.stem)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)


def _axis(rows: Sequence[Mapping[str, Any]]) -> str:
    return next((name for name in _AXES if all(name in row for row in rows)), "")


def _curves(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    axis = _axis(rows)
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value)))
    series = {}
    for name in names:
        if name in _AXES or name in _NOT_DRAWN:
            continue
        there = [(number, row) for number, row in enumerate(rows) if _is_number(row.get(name))]
        xs = [float(row[axis]) if axis else float(number) for number, row in there]
        series[name] = (xs, [float(row[name]) for _, row in there])
    return page.charts(series, axis or "row")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _samples(grids: Sequence[tuple[int, Path]]) -> str:
    if not grids:
        return ""
    kept = sorted({round(place) for place in np.linspace(0, len(grids) - 1, min(_GRIDS, len(grids)))})
    shown = [page.png_picture(grids[place][1].read_bytes(), f"step {grids[place][0]:,}") for place in kept]
    note = f"The same texts and the same noise throughout; {len(kept)} of {len(grids)} sheets."
    return page.paragraph(note, "quiet") + f'<div class="sheets">{"".join(shown)}</div>'


def _measures(outcome: Outcome) -> str:
    heads = ("measure", "generated", "95%", "real pictures", "chance")
    rows, notes = [], []
    for one in outcome.measures:
        unit = " (%)" if one.percent else ""
        better = ", lower is better" if one.lower_is_better else ""
        rows.append(
            [
                f"{one.name}{unit}{better}",
                one.printed(one.value),
                one.range,
                one.printed(one.real),
                one.printed(one.chance),
            ]
        )
        notes.append(one.rule)
    lead = (
        f"{outcome.texts:,} texts, {outcome.drawn}, seed {outcome.seed}. "
        f"Features: {outcome.extractor}. Judge: {outcome.judge or 'none'}. The column of real pictures says what real "
        "pictures get by the same rule; for distances, another real set."
    )
    return page.paragraph(lead, "quiet") + page.table(heads, rows, notes)


def _objects(outcome: Outcome) -> str:
    if not outcome.by_class:
        return ""

    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.0f}"

    ordered = sorted(outcome.by_class.items(), key=lambda item: -(item[1]["texts"] or 0))
    rows = [[name, share(one["found"]), share(one["real"]), f"{one['texts'] or 0:.0f}"] for name, one in ordered]
    return page.table(("object", "found in generated %", "in real %", "texts"), rows)


def _made(looked: Looked) -> str:
    """Failures first: what the judge finds least like its text, then the most, then some by chance."""
    chance = np.arange(len(looked.prompts))[:_EACH]  # texts are in a drawn order already
    if looked.verdicts is None:
        return _figures(looked, chance)
    order = np.argsort(looked.verdicts.closeness, kind="stable")
    missed = [place for place in order if not looked.verdicts.found[place]][:_EACH]
    best = [place for place in order[::-1] if looked.verdicts.found[place]][:_EACH]
    parts = [page.paragraph("Drawn at random.", "quiet"), _figures(looked, chance)]
    if missed:
        parts += [page.paragraph("Failures: furthest from their text, by the judge.", "quiet")]
        parts += [_figures(looked, np.array(missed))]
    if best:
        parts += [page.paragraph("Nearest to their text.", "quiet"), _figures(looked, np.array(best))]
    return "".join(parts)


def _figures(looked: Looked, places: np.ndarray) -> str:
    shown = []
    for place in places:
        verdict = bool(looked.verdicts.found[place]) if looked.verdicts else None
        text = looked.prompts[place].text.value
        shown.append(page.picture(looked.generated[place, 0], text[:80], verdict, f"generated from: {text[:200]}"))
    return page.row(shown)


def _nearest(looked: Looked) -> str:
    """The generated pictures that are nearest to a training picture, beside it: would be copies if any were."""
    by_features, by_pixels = looked.copied.by_features, looked.copied.by_pixels
    if looked.training is None or by_features is None or by_pixels is None:
        return ""
    parts = [
        page.paragraph(
            "The generated pictures that lie nearest to a training picture, by features and by pixels (32 px), each "
            "with its three nearest. Copies would stand here first.",
            "quiet",
        )
    ]
    for title, near in (("By features", by_features), ("By pixels", by_pixels)):
        parts.append(f"<h3>{html.escape(title)}</h3>")
        for place in np.argsort(near.distances[:, 0], kind="stable")[: _NEAR // 2]:
            text = looked.prompts[place].text.value
            figures = [page.picture(looked.generated[place, 0], "generated")]
            for other, distance in zip(near.places[place], near.distances[place], strict=True):
                pair = looked.training_pairs[looked.training.owner[other]]
                name = pair.texts[0].value if pair.texts else pair.id
                figures.append(page.picture(looked.training.pixels[other], f"{distance:.2f}: {name[:60]}"))
            parts.append(page.row(figures, text[:100]))
    return "".join(parts)
