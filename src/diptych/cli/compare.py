"""`diptych compare`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.files import write_bytes, write_json
from diptych.data.readers import SourceOptions, open_source

from .outputs import JSON, MARKDOWN, PNG, check_file
from .shared import Common
from .sources import Reading, not_trained_on

if TYPE_CHECKING:
    from diptych.core.notes import Note
    from diptych.evaluation import SavedReport


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
    metrics: tuple[str, ...] = ("R@1", "R@5", "R@10", "medR", "mAP", "rsum"),
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
    from diptych import evaluation
    from diptych.evaluation.compare import compare as compare_reports
    from diptych.inspection.comparison import draw_bars, to_markdown
    from diptych.inspection.measure import Task, measure
    from diptych.models import load

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
    task = Task(modality, protocol, relevance, resamples=0, seed=common.seed or 0)
    named = [_named(one) for one in model]
    encoders = [load(_folder_of(address)) for _, address in named]
    reports: list[SavedReport] = []
    notes: Iterable[Note] = ()
    if source:
        opened = not_trained_on(open_source(source, options), encoders, common)
        notes = opened.notes
        for (name, address), encoder in zip(named, encoders, strict=True):
            measured = measure(encoder, opened, task, progress=common.progress()).report
            reports.append(evaluation.parse_report(measured.to_json(ranks=True), name or encoder.name, address))
    reports += [_read(*_named(one)) for one in report]
    found = compare_reports(_named_apart(reports), baseline=baseline, resamples=bootstrap, seed=task.seed)
    page = to_markdown(found, metrics)
    if out is not None:
        write_json(out, found.to_json())
    if markdown is not None:
        write_bytes(markdown, page.encode())
    if plot is not None:
        write_bytes(plot, draw_bars(found))
        common.progress().say(f"plot: {plot}")
    common.show(found.to_json(), page, notes)


def _named(argument: str) -> tuple[str, str]:
    """The name that NAME=ADDRESS gives, if any, and the address."""
    name, _, rest = argument.partition("=") if "=" in argument and not Path(argument).exists() else ("", "", argument)
    return name, rest


def _folder_of(address: str) -> Path | str:
    """A model's address; of the folder of a training run, that of its model."""
    inside = Path(address).expanduser() / "model"
    return inside if inside.is_dir() else address


def _read(name: str, file: str) -> SavedReport:
    from diptych import evaluation

    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"no report {file}: there is no such file; expected what diptych eval --out wrote")
    return evaluation.read_report(path, name)


def _named_apart(reports: Sequence[SavedReport]) -> list[SavedReport]:
    """Reports of the same name get numbers, so that each has a row."""
    names = [report.name for report in reports]
    return [
        replace(report, name=f"{report.name} #{names[:place].count(report.name) + 1}")
        if names.count(report.name) > 1
        else report
        for place, report in enumerate(reports)
    ]
