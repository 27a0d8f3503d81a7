"""`diptych train`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from diptych.core.extras import need, needed_by
from diptych.data.readers import SourceOptions

from .outputs import check_folder
from .shared import Common, Fresh, Settings, as_flags
from .sources import Reading


def train(
    config: Path,
    source: str = "",
    /,
    *,
    out: Path | None = None,
    set: Settings = (),
    fresh: Fresh = False,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Train a model from a TOML config.

    The run's folder holds the logs (log.jsonl, log.csv, steps.jsonl, tensorboard/), the learning curve
    (curve.png), checkpoints and the model. When it is interrupted or killed, the same command continues.

    Examples:
        diptych train configs/base.toml flickr8k/
        diptych train configs/heads.toml my-pairs.csv --image-column photo --text-columns title --out runs/mine
        diptych train configs/heads.toml my-pairs.csv --set training.epochs=20 --set seed=1
        diptych train configs/cross_encoder.toml flickr8k/
        diptych train configs/synthesis/xmc_emoji.toml emoji/

    Args:
        config: TOML file; see configs/.
        source: File or folder of pairs: CSV, JSONL, Parquet, tar, ... (see diptych data check); the config's
            data.source when left out.
        out: Folder of the run; runs/NAME when left out.
    """
    check_folder(out, "--out")
    from diptych import runs
    from diptych.runs.reading import left_out

    with needed_by("diptych train"):
        settings = runs.read_config(config, set, common.seed)
    if not getattr(settings, "fit", None):  # heads computed in one step need no PyTorch
        need("torch", "diptych train")
    run = runs.train(
        settings,
        source or None,
        out,
        options=options,
        device=common.device,
        fresh=fresh,
        progress=common.progress(),
    )
    measured_on = " ".join([quote(source or settings.data.source), *as_flags(options)])
    model = quote(str(run.model_folder))
    next_step = {
        "generator": f'diptych generator draw "a red apple" --generator {model}',
        "cross-encoder": f"diptych rerank fit {measured_on} --model base --reranker {model}",
    }.get(run.kind, f"diptych eval {measured_on} --model {model}")
    unmined = f"\n{run.unmined} records are not named in {settings.data.mined}" if run.unmined else ""
    rows = "\n".join(f"  {name:10} {value:6.2f}" for name, value in run.scores.items())
    skipped = f"\n{left_out(run.skipped)}" if run.skipped else ""
    unscored = sum(fit.unscored for fit in run.fits)
    if unscored:
        skipped += f"\n{unscored} epochs had a validation score that was not a number, and could not be the best"
    common.show(
        run.to_json(),
        f"trained on {run.records['train']} records; validation ({run.records['val']} records):\n"
        f"{rows}{skipped}{unmined}\n"
        f"model: {run.model_folder}\nnext: {next_step}",
        run.notes,
    )
