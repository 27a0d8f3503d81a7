"""`diptych distill`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import check_folder
from .shared import Common, Fresh, ModelAddress, RerankerAddress, Settings, as_flags
from .sources import Reading
from .train import show_run


def distill(
    config: Path,
    source: str = "",
    /,
    *,
    reranker: RerankerAddress,
    model: ModelAddress = "base",
    out: Path | None = None,
    set: Settings = (),
    any_data: bool = False,
    fresh: Fresh = False,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Teach a dual encoder what a cross-encoder knows; searching with it costs no more than before.

    The cross-encoder (the teacher) scores each training text with its own image, with the wrong ones that the dual
    encoder (the student) ranks highest, and with some at random; the scores are kept, so that another run with
    other weights computes none of them again. When it is interrupted, the same command continues.

    Examples:
        diptych distill configs/distill.toml flickr8k/ --reranker runs/cross-encoder/model --model base
        diptych distill configs/distill.toml pairs.csv --reranker runs/cross-encoder/model --set distillation.alpha=0.8

    Args:
        config: TOML file; see configs/distill.toml.
        source: File or folder of pairs, those that the cross-encoder was trained on; the config's data.source when
            left out.
        out: Folder of the run; runs/NAME when left out.
        any_data: Let the pairs differ from those that the cross-encoder was trained on.
    """
    check_folder(out, "--out")
    need("torch", "diptych distill")
    from diptych import runs

    settings = runs.read_config(config, set, common.seed, "distilled")
    run = runs.distill(
        settings,
        source or None,
        reranker,
        model,
        out,
        any_data=any_data,
        options=options,
        device=common.device,
        fresh=fresh,
        progress=common.progress(),
    )
    pairs = " ".join([quote(source or settings.data.source), *as_flags(options)])
    next_step = f"diptych rerank fit {pairs} --model {quote(str(run.model_folder))} --reranker {quote(reranker)}"
    show_run(run, f"distilled on {run.records['train']} records", next_step, common)
