"""`diptych train`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diptych.core.extras import need, needed_by
from diptych.data.readers import SourceOptions

from .outputs import check_folder
from .shared import Also, Common, Fresh, Settings, With, as_flags
from .sources import Reading

if TYPE_CHECKING:
    from diptych.runs import Run


def train(
    config: Path,
    source: str = "",
    /,
    *,
    out: Path | None = None,
    sources: With = (),
    also: Also = (),
    set: Settings = (),
    fresh: Fresh = False,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Train a model from a TOML config.

    The run's folder holds the logs (log.jsonl, log.csv, steps.jsonl, tensorboard/), the learning curve
    (curve.png), checkpoints and the model. When it is interrupted or killed, the same command continues.

    Examples:
        diptych train configs/methods/strong.toml flickr8k/
        diptych train configs/heads.toml my-pairs.csv --image-column photo --text-columns title --out runs/mine
        diptych train configs/heads.toml my-pairs.csv --set training.epochs=20 --set seed=1
        diptych train configs/heads.toml my-pairs.csv --also flickr8k/
        diptych train configs/methods/strong.toml flickr8k/ --with languages.jsonl --with emoji/:0.3
        diptych train configs/cross_encoder.toml flickr8k/
        diptych train configs/synthesis/xmc_emoji.toml emoji/

    Args:
        config: TOML file; see configs/.
        source: File or folder of pairs: CSV, JSONL, Parquet, tar, ... (see diptych data check); the config's
            data.source when left out. The options of how a source is read are of this one; those of further sources
            stand in the config, as [[data.sources]].
        out: Folder of the run; runs/NAME when left out.
    """
    check_folder(out, "--out")
    from diptych import runs

    with needed_by("diptych train"):
        settings = runs.read_config(config, set, common.seed)
    if not getattr(settings, "fit", None):  # heads computed in one step need no PyTorch
        need("torch", "diptych train")
    run = runs.train(
        settings,
        source or None,
        out,
        sources=sources,
        also=also,
        options=options,
        device=common.device,
        fresh=fresh,
        progress=common.progress(),
    )
    first = source or settings.data.source or next((each.path for each in settings.data.sources), "")
    measured_on = " ".join([quote(first), *as_flags(options)])
    model = quote(str(run.model_folder))
    next_step = {
        "generator": f'diptych generator draw "a red apple" --generator {model}',
        "cross-encoder": f"diptych rerank fit {measured_on} --model base --reranker {model}",
        "text-cross-encoder": f"diptych rerank fit {measured_on} --model {quote(_miner(settings))} --reranker {model}",
    }.get(run.kind, f"diptych eval {measured_on} --model {model}{_within(settings)}")
    more = [f"{run.unmined} records are not named in {settings.data.mined}"] if run.unmined else []
    show_run(run, f"trained on {run.records['train']} records", next_step, common, more)


def _miner(settings: Any) -> str:
    """The dual encoder that found the wrong texts of a text cross-encoder."""
    return str(getattr(settings, "model", "base"))


def _within(settings: Any) -> str:
    """The flags of `diptych eval` for a model that learnt within one modality."""
    pairs = getattr(settings, "pairs", None)
    if pairs is None or pairs.across:
        return ""
    return f" --modality {'text-text' if pairs.texts else 'image-image'}{' --relevance group' * (pairs.by == 'class')}"


def show_run(run: Run, done: str, next_step: str, common: Common, more: Iterable[str] = ()) -> None:
    """What was `done` in a run, its scores, what was left out, where the model is, and the command to give next."""
    from diptych.runs import before_after
    from diptych.runs.reading import left_out

    lines = [f"{done}; validation ({run.records['val']} records):"]
    width = max(10, *map(len, run.scores))
    lines += [f"  {name:{width}} {value:6.2f}" for name, value in run.scores.items()]
    if run.skipped:
        lines.append(left_out(run.skipped))
    if unscored := sum(fit.unscored for fit in run.fits):
        lines.append(f"{unscored} epochs had a validation score that was not a number, and could not be the best")
    lines += before_after.lines(run.before_after)
    lines += [*more, f"model: {run.model_folder}", f"next: {next_step}"]
    notes = [*run.notes, *(note for recalls in run.before_after for note in recalls.named_notes())]
    common.show(run.to_json(), "\n".join(lines), notes)
