"""`diptych models blend`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from cyclopts import Parameter

from diptych.cli.outputs import PNG, check_file, check_folder, write
from diptych.cli.shared import Common, ModelAddress
from diptych.cli.sources import Reading
from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.notes import Note
from diptych.data.readers import SourceOptions


def blend(
    before: ModelAddress,
    after: ModelAddress,
    /,
    *,
    by: Annotated[str, Parameter(metavar="SHARE[,SHARE...]")] = "0.5",
    out: Path | None = None,
    check: Annotated[tuple[str, ...], Parameter(metavar="SOURCE")] = (),
    plot: Path | None = None,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Blend two models of one architecture, weight by weight: before and after fine-tuning (WiSE-FT).

    Each weight becomes (1 - share) of the first model's and share of the second's, the temperature included.
    Fine-tuning gains on its own data and forgets elsewhere; a blend often keeps most of both. Several shares with
    --check print the curve and write no model; choose one of them, and give it alone with --out.

    Examples:
        diptych models blend base runs/tuned/model --by 0.5 --out runs/blend
        diptych models blend base runs/tuned/model --by 0,0.25,0.5,0.75,1 --check mine.csv --check flickr8k/

    Args:
        before: The model that the fine-tuning began from.
        after: The fine-tuned model.
        by: Share of the second model, from 0 to 1; or several with commas between.
        out: Folder to write the model to; for one share.
        check: Source of pairs to measure the blends on; repeat for several. Without --split, the records that neither
            model was trained on.
        plot: Draw the curve here as PNG.
    """
    from diptych.inspection.curves import draw_shares
    from diptych.models import load
    from diptych.models.blend import blend as blended
    from diptych.models.blend import check_share
    from diptych.runs.blending import blend_curve

    shares = _shares(by)
    for share in shares:
        check_share(share)
    need("onnx", "diptych models blend")
    check_folder(out, "--out")
    check_file(plot, "--plot", PNG)
    if plot is not None:
        need("matplotlib", "--plot")
    if out is None and not check:
        raise ConfigError("a blend needs a folder to be written to (--out), or sources to be measured on (--check)")
    if out is not None and len(shares) > 1:
        raise ConfigError(
            f"found {len(shares)} shares and --out; a model is written for one share, so give one with --by"
        )
    if plot is not None and (not check or len(shares) < 2):
        raise ConfigError("--plot draws recall by share; give several shares with --by, and --check SOURCE")
    one, other = (load(address) for address in (before, after))
    lines: list[str] = []
    found: dict[str, Any] = {}
    notes: tuple[Note, ...] = ()
    if check:
        curve = blend_curve(
            one, other, shares, check, options=options, device=common.device, progress=common.progress()
        )
        lines, found, notes = [curve.table()], curve.to_json(), curve.notes
        if plot is not None:
            write(plot, draw_shares(curve.shares, {each.source: each.rows for each in curve.sources}))
            common.progress().say(f"plot: {plot}")
    if out is not None:
        config = blended(one, other, shares[0], out)
        found |= {"model": str(out), "name": config.name, "fingerprint": config.fingerprint, "share": shares[0]}
        lines += [f"model: {out} ({config.name})", f"next: diptych eval SOURCE --model {quote(str(out))}"]
    common.show(found, "\n".join(lines), notes)


def _shares(by: str) -> list[float]:
    try:
        return [float(each) for each in by.split(",")]
    except ValueError as error:
        raise ConfigError(f"--by takes a number from 0 to 1, or several with commas between; found {by!r}") from error
