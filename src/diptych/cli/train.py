"""`diptych train`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

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
    from diptych.runs.reading import left_out

    settings = runs.read_config(config, set, common.seed)
    run = runs.train(
        settings,
        data or None,
        out,
        options=options,
        device=common.device,
        fresh=fresh,
        progress=common.progress(),
    )
    source = " ".join([quote(data or settings.data.source), *as_flags(options)])
    model = quote(str(run.model_folder))
    next_step = {
        "generator": f'diptych generate "a red apple" --model {model}',
        "cross-encoder": f"diptych fit-rerank --model base --reranker {model} --data {source}",
    }.get(run.kind, f"diptych eval {source} --model {model}")
    unmined = f"\n{run.unmined} records are not named in {settings.data.mined}" if run.unmined else ""
    rows = "\n".join(f"  {name:10} {value:6.2f}" for name, value in run.scores.items())
    skipped = f"\n{left_out(run.skipped)}" if run.skipped else ""
    unscored = sum(fit.unscored for fit in run.fits)
    if unscored:
        skipped += f"\n{unscored} epochs had a validation score that was no number, and could not be the best"
    common.show(
        run.to_json(),
        f"trained on {run.records['train']} records; validation ({run.records['val']} records):\n"
        f"{rows}{skipped}{unmined}\n"
        f"model: {run.model_folder}\nnext: {next_step}",
        run.notes,
    )
