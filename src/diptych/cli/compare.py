"""`diptych compare`."""

from collections.abc import Sequence
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

if TYPE_CHECKING:
    from diptych.data.readers import Source
    from diptych.evaluation import SavedReport
    from diptych.inspection.measure import Task
    from diptych.models import DualEncoder

ANY_SOURCE = SourceOptions()
COMMON = Common()


def compare(
    *runs: str,
    source: str | None = None,
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    baseline: str = "first",
    modality: Literal["image-text", "text-text", "image-image"] = "image-text",
    protocol: str = "full",
    relevance: Literal["pair", "group"] = "pair",
    metrics: Annotated[tuple[str, ...], Parameter(negative="")] = ("R@1", "R@5", "R@10", "medR", "mAP", "rsum"),
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 2000,
    out: Path | None = None,
    markdown: Path | None = None,
    plot: Path | None = None,
    common: Common = COMMON,
) -> None:
    """Several models in one table: every metric with its interval, and a paired bootstrap test against one of them.

    A run is a report that `diptych eval --out` wrote, or, with --source, a model to measure there: a
    shipped model's name, a model folder, or the folder of a training run. All must be of the same
    queries; where they are not, the difference is named. Without --split, models are measured on the
    records that their trainings held out, and that none of them was trained on.

    For example:

        diptych compare a.json b.json c.json --plot compared.png

        diptych compare base runs/mine/ --source flickr8k/ --split val --baseline best

        diptych compare old=a.json new=b.json --out compared.json --markdown compared.md

    Args:
        runs: Reports or models; name=REPORT gives one a name of its own.
        source: File or folder of pairs, needed when a run is a model.
        baseline: What the others are tested against: first, best (by rsum), or a run's name.
        modality: As in diptych eval, for runs that are models.
        protocol: As in diptych eval, for runs that are models.
        relevance: As in diptych eval, for runs that are models.
        metrics: Columns of the printed tables; the JSON has all. Repeat for several.
        bootstrap: Resamples behind intervals and tests.
        out: Write everything here as JSON.
        markdown: Write the tables here as Markdown.
        plot: Draw recall and rsum with their intervals here, as PNG.
    """
    from diptych.data.seen import learner_of, untrained
    from diptych.evaluation.compare import compare as compared
    from diptych.inspection.comparison import draw_bars, to_markdown
    from diptych.inspection.measure import Task

    check_file(out, "--out", JSON)
    check_file(markdown, "--markdown", MARKDOWN)
    check_file(plot, "--plot", PNG)
    if plot is not None:
        need("matplotlib", "--plot")
    if len(runs) < 2:
        raise ConfigError(f"found {len(runs)} runs; expected two or more reports or models to compare")
    task = Task(modality, protocol, relevance, resamples=0, seed=common.seed or 0)
    opened = open_source(source, options) if source is not None else None
    if opened is not None:
        models = [run for run in runs if not Path(_named(run)[1]).expanduser().is_file() and not run.endswith(".json")]
        encoders = [_model(run) for run in models]
        learners = [learner_of(each.name, each.folder, each.config.training) for each in encoders]
        opened = untrained(opened, learners, progress=common.progress())
    reports = [_report(run, opened, task, common) for run in runs]
    found = compared(_named_apart(reports), baseline=baseline, resamples=bootstrap, seed=task.seed)
    page = to_markdown(found, metrics)
    if out is not None:
        write_json(out, found.to_json())
    if markdown is not None:
        write_bytes(markdown, page.encode())
    if plot is not None:
        write_bytes(plot, draw_bars(found))
        common.progress().say(f"plot: {plot}")
    common.show(found.to_json(), page, opened.notes if opened else ())


def _report(run: str, source: "Source | None", task: "Task", common: Common) -> "SavedReport":
    """A saved report as it is, or a model's, measured now."""
    from diptych import evaluation
    from diptych.inspection.measure import measure

    name, rest = _named(run)
    path = Path(rest).expanduser()
    if path.is_file():
        return evaluation.read_report(path, name)
    if path.suffix == ".json":
        raise ConfigError(f"no report {rest}: there is no such file; expected what diptych eval --out wrote")
    if source is None:
        raise ConfigError(f"{rest} is no report file; to measure it as a model, add --source with pairs to measure on")
    encoder = _model(run)
    measured = measure(encoder, source, task, progress=common.progress())
    return evaluation.parse_report(measured.report.to_json(ranks=True), name or encoder.name, rest)


def _named(run: str) -> tuple[str, str]:
    """The run's own name, if it was given one, and where it is."""
    name, _, rest = run.partition("=") if "=" in run and not Path(run).exists() else ("", "", run)
    return name, rest


def _model(run: str) -> "DualEncoder":
    """The model that a run names, which may be the folder of its training."""
    from diptych.models import load

    rest = _named(run)[1]
    path = Path(rest).expanduser()
    return load(path / "model" if (path / "model").is_dir() else rest)


def _named_apart(reports: Sequence["SavedReport"]) -> list["SavedReport"]:
    """Runs of the same name get numbers, so that each has a row."""
    names = [report.name for report in reports]
    return [
        replace(report, name=f"{report.name} #{names[:place].count(report.name) + 1}")
        if names.count(report.name) > 1
        else report
        for place, report in enumerate(reports)
    ]
