"""`diptych rerank check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from diptych.cli.outputs import PNG, check_file
from diptych.cli.shared import Common, ModelAddress, RerankerAddress
from diptych.cli.sources import Reading, not_trained_on
from diptych.core.extras import need
from diptych.data.readers import SourceOptions, open_source


def check(
    source: str,
    /,
    *,
    reranker: RerankerAddress,
    model: ModelAddress = "base",
    options: Reading = SourceOptions(),
    queries: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 400,
    plot: Path | None = None,
    common: Common = Common(),
) -> None:
    """Measure the calibration of re-ranked hits: whether what is said to be 70 % likely is right in 70 of 100 cases.

    Use other pairs than those that `diptych rerank fit` was given.

    Examples:
        diptych rerank check flickr8k/ --split val --reranker runs/cross-encoder/model --plot reliability.png

    Args:
        source: File or folder of pairs.
        queries: Texts that are searched for, at most.
        plot: Draw the reliability diagram into this PNG.
    """
    check_file(plot, "--plot", PNG)
    if plot is not None:
        need("matplotlib", "--plot")
    from diptych.core.files import write_bytes
    from diptych.inspection.curves import draw_reliability
    from diptych.models import load
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.runs import reranking

    encoder = load(model, device=common.device)
    cross_encoder = load_trained_cross_encoder(reranker, device=common.device)
    opened = not_trained_on(open_source(source, options), [encoder, cross_encoder], common)
    report = reranking.check_relevance(
        encoder,
        cross_encoder,
        list(opened),
        most=queries,
        seed=common.seed or 0,
        progress=common.progress(),
    )
    if report.fitted_on:
        detail = "records that rerank fit used too: on others the errors are larger; name other pairs, or a --split"
        opened.notes.add("fitted_on", detail, count=report.fitted_on)
    if plot is not None:
        curves = {"hit is right": report.hits, "nothing matches": report.nothing}
        write_bytes(plot, draw_reliability(curves, f"{report.queries} queries"))
    common.show(
        report.to_json(),
        f"{report.queries} queries: expected calibration error {report.hit_error:.3f} of hits, "
        f'{report.nothing_error:.3f} of "nothing matches"',
        opened.notes,
    )
