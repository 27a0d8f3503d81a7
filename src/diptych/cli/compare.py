"""`diptych compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import JSON, MARKDOWN, PNG, check_file, write
from .shared import Common
from .sources import Reading


def compare(
    source: str = "",
    /,
    *,
    model: Annotated[tuple[str, ...], Parameter(consume_multiple=True, metavar="[NAME=]MODEL...")] = (),
    report: Annotated[tuple[str, ...], Parameter(consume_multiple=True, metavar="[NAME=]FILE...")] = (),
    options: Reading = SourceOptions(),
    baseline: str = "first",
    modality: Literal["image-text", "text-text", "image-image"] = "image-text",
    protocol: str = "full",
    relevance: Literal["pair", "group"] = "pair",
    metrics: tuple[str, ...] = ("R@1", "R@5", "R@10", "medR", "mAP", "rsum", "top-1", "top-5", "per-class"),
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 2000,
    out: Path | None = None,
    markdown: Path | None = None,
    plot: Path | None = None,
    common: Common = Common(),
) -> None:
    """Several models in one table: every metric with its interval, and a paired bootstrap test against one of them.

    Models are measured on the source now; reports are what `diptych eval --out` wrote before. All must be of the
    same queries; where they are not, the difference is named. Without --split, models are measured on the
    records that their trainings held out, and that none of them was trained on.

    Examples:
        diptych compare flickr8k/ --split val --model base runs/mine/ --baseline best
        diptych compare --report a.json b.json c.json --plot compared.png
        diptych compare --report old=a.json new=b.json --out compared.json --markdown compared.md

    Args:
        source: File or folder of pairs that the models are measured on; reports need none.
        model: Dual encoders to measure: shipped models' names, model folders, or folders of training runs. NAME=MODEL
            gives one a name in the table.
        report: Reports that diptych eval --out wrote; NAME=FILE gives one a name in the table.
        baseline: What the others are tested against: first (models come before reports), best (by rsum), or a name.
        modality: As in diptych eval, for models.
        protocol: As in diptych eval, for models.
        relevance: As in diptych eval, for models.
        metrics: Columns of the printed tables; the JSON has all. Repeat for several.
        bootstrap: Resamples behind intervals and tests.
        out: Write everything here as JSON.
        markdown: Write the tables here as Markdown.
        plot: Draw recall and rsum with their intervals here, as PNG.
    """
    from diptych import runs
    from diptych.inspection.comparison import draw_bars

    check_file(out, "--out", JSON)
    check_file(markdown, "--markdown", MARKDOWN)
    check_file(plot, "--plot", PNG)
    if plot is not None:
        need("matplotlib", "--plot")
    if len(model) + len(report) < 2:
        raise ConfigError(
            f"found {len(model)} models and {len(report)} reports; expected two or more to compare, as --model A B or "
            "--report a.json b.json"
        )
    if bool(model) != bool(source):
        raise ConfigError(
            "--model needs a source of pairs to measure on, as the first argument"
            if model
            else f"found the source {source} and no --model to measure on it; name models, or leave the source out"
        )
    found = runs.compare(
        [*model, *report],
        source or None,
        options=options,
        baseline=baseline,
        resamples=bootstrap,
        seed=common.seed or 0,
        device=common.device,
        progress=common.progress(),
        modality=modality,
        protocol=protocol,
        relevance=relevance,
    )
    page = found.table(metrics)
    write(out, found.to_json())
    write(markdown, page)
    if plot is not None:
        write(plot, draw_bars(found))
        common.progress().say(f"plot: {plot}")
    common.show(found.to_json(), page, found.notes)
