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

from . import html_page
from .generator_report import GeneratorReport
from .measure import DrawnImages

LOG, SAMPLES, MEASURES = "log.jsonl", "samples", "measures.json"
_GRIDS = 8  # sample sheets shown
_EACH = 12  # images shown of a kind
_NEAR = 12  # images shown with their nearest training images
_AXES = ("step", "epoch", "round")
_NOT_DRAWN = ("time", "seconds", "timestamp")


def run_html(run: Path, report: GeneratorReport | None = None, drawn: DrawnImages | None = None) -> str:
    """The page of a run's folder. Without `report` the measures in RUN/measures.json are shown, where they are.

    Raises DataError for a folder that holds neither a log nor samples nor measures.
    """
    rows = read_log(run / LOG)
    grids = sample_grids(run)
    if not rows and not grids and report is None:
        raise DataError(f"{run} holds no {LOG}, {SAMPLES}/ or {MEASURES}; expected the folder of a run", Reason.MISSING)
    sections = [
        ("Measures", _measures(report) if report else ""),
        ("Objects found", _objects(report) if report else ""),
        ("What it makes of new texts", _made(drawn) if drawn else ""),
        ("Nearest training images", _nearest(drawn) if drawn else ""),
        ("Samples by step", _samples(grids)),
        ("Curves", _curves(rows)),
    ]
    lead = f"Run {run.resolve().name}"
    if rows:
        axis = _axis(rows)
        lead += f", {axis} {rows[-1].get(axis, len(rows))}" if axis else f", {len(rows)} rows"
    if report is not None:
        lead += f"; measured on {report.texts:,} texts of {report.source}{f' ({report.split})' if report.split else ''}"
    return html_page.page(run.resolve().name, lead + ".", sections)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; none where there is no file. A last line that is cut, as in a running training, is left out.

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
    return html_page.charts(series, axis or "row")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _samples(grids: Sequence[tuple[int, Path]]) -> str:
    if not grids:
        return ""
    kept = sorted({round(place) for place in np.linspace(0, len(grids) - 1, min(_GRIDS, len(grids)))})
    shown = [html_page.png_figure(grids[place][1].read_bytes(), f"step {grids[place][0]:,}") for place in kept]
    note = f"The same texts and the same noise throughout; {len(kept)} of {len(grids)} sheets."
    return html_page.paragraph(note, "quiet") + f'<div class="sheets">{"".join(shown)}</div>'


def _measures(report: GeneratorReport) -> str:
    rows = []
    for one in report.measures:
        unit = " (%)" if one.percent else ""
        better = ", lower is better" if one.lower_is_better else ""
        rows.append([f"{one.name}{unit}{better}", *one.cells])
    lead = (
        f"{report.texts:,} texts, {report.drawn}, seed {report.seed}. "
        f"Features: {report.extractor}. Judge: {report.judge or 'none'}. The column of real images says what real "
        "images get by the same rule; for distances, another real set."
    )
    return html_page.paragraph(lead, "quiet") + html_page.table(
        ("measure", *report.HEADS), rows, [one.rule for one in report.measures]
    )


def _objects(report: GeneratorReport) -> str:
    if not report.by_class:
        return ""

    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.0f}"

    ordered = sorted(report.by_class.items(), key=lambda item: -(item[1]["texts"] or 0))
    rows = [
        [name, *(share(one.get(key)) for key in ("found", "real", "elsewhere")), f"{one['texts'] or 0:.0f}"]
        for name, one in ordered
    ]
    return html_page.table(("object", "found in generated %", "in real %", "where it is not named %", "texts"), rows)


def _made(drawn: DrawnImages) -> str:
    """Failures first: what the judge finds least like its text, then the most, then some by chance."""
    chance = np.arange(len(drawn.prompts))[:_EACH]  # texts are in a drawn order already
    if drawn.verdicts is None:
        return _figures(drawn, chance)
    order = np.argsort(drawn.verdicts.closeness, kind="stable")
    missed = [place for place in order if not drawn.verdicts.found[place]][:_EACH]
    best = [place for place in order[::-1] if drawn.verdicts.found[place]][:_EACH]
    parts = [html_page.paragraph("Drawn at random.", "quiet"), _figures(drawn, chance)]
    if missed:
        parts += [html_page.paragraph("Failures: furthest from their text, by the judge.", "quiet")]
        parts += [_figures(drawn, np.array(missed))]
    if best:
        parts += [html_page.paragraph("Nearest to their text.", "quiet"), _figures(drawn, np.array(best))]
    return "".join(parts)


def _figures(drawn: DrawnImages, places: np.ndarray) -> str:
    shown = []
    for place in places:
        verdict = bool(drawn.verdicts.found[place]) if drawn.verdicts else None
        text = drawn.prompts[place].text.value
        shown.append(
            html_page.image_figure(drawn.generated[place, 0], text[:80], verdict, f"generated from: {text[:200]}")
        )
    return html_page.row(shown)


def _nearest(drawn: DrawnImages) -> str:
    """The generated images that are nearest to a training image, beside it; copies would come first."""
    by_features, by_pixels = drawn.copied.by_features, drawn.copied.by_pixels
    if drawn.training is None or by_features is None or by_pixels is None:
        return ""
    parts = [
        html_page.paragraph(
            "The generated images that lie nearest to a training image, by features and by pixels (32 px), each "
            "with its three nearest. Copies would stand here first.",
            "quiet",
        )
    ]
    for title, near in (("By features", by_features), ("By pixels", by_pixels)):
        parts.append(f"<h3>{html.escape(title)}</h3>")
        for place in np.argsort(near.distances[:, 0], kind="stable")[: _NEAR // 2]:
            text = drawn.prompts[place].text.value
            figures = [html_page.image_figure(drawn.generated[place, 0], "generated")]
            for other, distance in zip(near.places[place], near.distances[place], strict=True):
                pair = drawn.training_pairs[drawn.training.owner[other]]
                name = pair.texts[0].value if pair.texts else pair.id
                figures.append(html_page.image_figure(drawn.training.pixels[other], f"{distance:.2f}: {name[:60]}"))
            parts.append(html_page.row(figures, text[:100]))
    return "".join(parts)
