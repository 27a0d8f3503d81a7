"""`diptych distill`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import Parameter

from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import check_folder
from .shared import Common, as_flags

ANY_SOURCE = SourceOptions()
COMMON = Common()


def distill(
    config: Path,
    *,
    teacher: Path,
    student: str = "base",
    data: str = "",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    out: Path | None = None,
    set: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    any_data: Annotated[bool, Parameter(negative="")] = False,
    fresh: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Teach a dual encoder what a cross-encoder knows; searching with it costs no more than before.

    The teacher scores each training text with its own picture, with the wrong ones that the student
    takes for the best, and with some at random; the scores are kept, so that another run with other
    weights needs none of them again. Interrupted, the same command goes on.

    For example:

        diptych distill configs/distill.toml --teacher runs/cross-encoder/model --student base --data flickr8k/

        diptych distill my.toml --teacher runs/cross-encoder/model --data pairs.csv --set distillation.alpha=0.8

    Args:
        config: TOML file; see configs/distill.toml.
        teacher: Folder of the cross-encoder.
        student: Name or folder of the dual encoder that learns on.
        data: Source of pairs; those that the teacher learnt from.
        out: Folder of the run; runs/NAME when left out.
        set: Override a setting, as section.key=value; repeatable.
        any_data: Let the pairs differ from those the teacher learnt from.
        fresh: Forget an earlier run in the same folder.
    """
    check_folder(out, "--out")
    need("torch", "diptych distill")
    from diptych import runs

    settings = runs.read_config(config, set, common.seed, "distilled")
    run = runs.distill(
        settings,
        data or None,
        teacher,
        student,
        out,
        any_data=any_data,
        options=options,
        device=common.device,
        fresh=fresh,
        progress=common.progress(),
    )
    rows = "\n".join(f"  {name:10} {value:6.2f}" for name, value in run.scores.items())
    common.show(
        run.to_json(),
        f"distilled on {run.records['train']} records; validation ({run.records['val']} records):\n{rows}\n"
        f"model: {run.model_folder}\nnext: diptych fit-rerank --fast {quote(str(run.model_folder))} "
        f"--slow {quote(str(teacher))} --data {' '.join([quote(data or settings.data.source), *as_flags(options)])}",
        run.notes,
    )
