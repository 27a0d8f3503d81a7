"""`diptych train`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from cyclopts import Parameter

from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import check_folder
from .shared import Common, as_flags


def train(
    config: Path,
    *,
    data: str = "",
    options: Annotated[SourceOptions, Parameter(name="*")] = SourceOptions(),
    out: Path | None = None,
    set: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    fresh: Annotated[bool, Parameter(negative="")] = False,
    common: Common = Common(),
) -> None:
    """Train a model from a TOML config.

    An interrupted run goes on when the same command is given again. The run's folder holds the
    logs (log.jsonl, log.csv, steps.jsonl, tensorboard/), the learning curve (curve.png), checkpoints
    and the model.

    For example:

        diptych train configs/base.toml --data flickr8k/

        diptych train configs/heads.toml --data my-pairs.csv --image-column photo --text-columns title --out runs/mine

        diptych train configs/heads.toml --data my-pairs.csv --set training.epochs=20 --set seed=1

        diptych train configs/cross_encoder.toml --data flickr8k/

        diptych train configs/synthesis/xmc_emoji.toml --data emoji/

    Parameters
    ----------
    config
        TOML file; see configs/.
    data
        Source of pairs: a folder, CSV, JSONL, Parquet, tar, ... (see diptych data check).
    out
        Folder of the run; runs/NAME when left out.
    set
        Override a setting, as section.key=value; repeatable.
    fresh
        Forget an earlier run in the same folder.
    """
    check_folder(out, "--out")
    need("torch", "diptych train")
    from diptych import runs
    from diptych.core.config import load, peek
    from diptych.runs.unused import left_out

    overrides = [*set, *([f"seed={common.seed}"] if common.seed is not None else [])]
    kind = peek(config, "kind")
    made: Any = runs  # what has forget and train for this kind
    settings_type: Any = runs.TrainConfig
    if kind == "synthesis":
        from diptych.runs import generator as made

        settings_type = made.SynthesisConfig
    elif kind == "cross":
        from diptych.runs import cross_encoder as made

        settings_type = made.SlowConfig
    settings = load(settings_type, config, overrides)
    folder = out or Path("runs") / settings.name
    if fresh:
        made.forget(folder)
    report = made.train(
        settings, folder, source=data, options=options, device=common.device, progress=common.progress()
    )
    source = " ".join([quote(data or settings.data.source), *as_flags(options)])
    next_step = f"diptych eval {source} --model {quote(str(report.model))}"
    if kind == "synthesis":
        next_step = f'diptych generate "a red apple" --model {quote(str(report.model))}'
    elif kind == "cross":
        next_step = f"diptych fit-rerank --fast base --slow {quote(str(report.model))} --data {source}"
    unmined = f"\n{report.unmined} records have no place in {settings.data.mined}" if report.unmined else ""
    rows = "\n".join(f"  {name:10} {value:6.2f}" for name, value in report.scores.items())
    skipped = f"\n{left_out(report.skipped)}" if report.skipped else ""
    unscored = sum(fit.unscored for fit in report.fits)
    if unscored:
        skipped += f"\n{unscored} epochs had a validation score that was no number, and could not be the best"
    common.show(
        report.to_json(),
        f"trained on {report.records['train']} records; validation ({report.records['val']} records):\n"
        f"{rows}{skipped}{unmined}\n"
        f"model: {report.model}\nnext: {next_step}",
        report.notes,
    )
