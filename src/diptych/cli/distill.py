"""`diptych distill`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import Parameter

from diptych.core.errors import ConfigError, ModelError
from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import check_folder
from .shared import Also, Common, Fresh, RerankerAddress, Settings, With, as_flags
from .sources import Reading
from .train import show_run


def distill(
    config: Path,
    source: str = "",
    /,
    *,
    reranker: RerankerAddress = "",
    teacher: Annotated[
        str,
        Parameter(
            metavar="NAME|FOLDER|ADDRESS",
            help="Dual encoder to learn from: a shipped model's name, a model folder, or an address as of --model.",
        ),
    ] = "",
    model: Annotated[
        str,
        Parameter(
            metavar="NAME|FOLDER",
            help="Student: a shipped model's name, or a model folder; the config's when left out.",
        ),
    ] = "",
    out: Path | None = None,
    sources: With = (),
    also: Also = (),
    set: Settings = (),
    any_data: bool = False,
    fresh: Fresh = False,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Teach a dual encoder what a cross-encoder, or a larger dual encoder, knows.

    A cross-encoder (--reranker) scores each training text with its own image, with the wrong ones that the dual
    encoder (the student) ranks highest, and with some at random; the scores are kept, so that another run with
    other weights computes none of them again. A dual encoder (--teacher) scores each batch; its features are kept.
    With a config of kind "distilled-text" only the text side learns, in several languages, and images stay the
    teacher's. Searching with the student costs no more than before. When it is interrupted, the same command
    continues.

    Examples:
        diptych distill configs/finetune/distil.toml flickr8k/ --teacher open_clip:ViT-L-14/laion2b_s32b_b82k
        diptych distill configs/finetune/multilingual.toml captions.jsonl --teacher hf:openai/clip-vit-base-patch32
        diptych distill configs/distill.toml flickr8k/ --reranker runs/cross-encoder/model --model base
        diptych distill configs/distill.toml pairs.csv --reranker runs/cross-encoder/model --set distillation.alpha=0.8

    Args:
        config: TOML file; see configs/distill.toml.
        source: File or folder of pairs; of a cross-encoder, those that it was trained on. The config's data.source when
            left out.
        out: Folder of the run; runs/NAME when left out.
        any_data: Let the pairs differ from those that a cross-encoder was trained on.
    """
    check_folder(out, "--out")
    need("torch", "diptych distill")
    from diptych import runs
    from diptych.models.folder import model_kind
    from diptych.runs.distilled import is_cross_encoder

    if reranker and teacher:
        raise ConfigError("found both --reranker and --teacher; give the one to learn from")
    if reranker and not is_cross_encoder(reranker):
        kind = model_kind(Path(reranker))
        found = f"holds a model of kind {kind!r}" if kind else "is no model folder"
        raise ModelError(f"{reranker} {found}; --reranker takes a cross-encoder, --teacher a dual encoder")
    settings = runs.read_config(config, set, common.seed, "distilled")
    run = runs.distill(
        settings,
        source or None,
        reranker or teacher,
        model,
        out,
        sources=sources,
        also=also,
        any_data=any_data,
        options=options,
        device=common.device,
        fresh=fresh,
        progress=common.progress(),
    )
    first = source or settings.data.source or next((each.path for each in settings.data.sources), "")
    pairs = " ".join([quote(first), *as_flags(options)])
    student = quote(str(run.model_folder))
    next_step = f"diptych eval {pairs} --model {student}"
    if reranker:
        next_step = f"diptych rerank fit {pairs} --model {student} --reranker {quote(reranker)}"
    show_run(run, f"distilled on {run.records['train']} records", next_step, common)
