"""`diptych fit-rerank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from diptych.core.extras import need
from diptych.data.readers import SourceOptions, open_source

from .outputs import PNG, check_file
from .shared import Common

if TYPE_CHECKING:
    from diptych.data.seen import Learner
    from diptych.models import DualEncoder
    from diptych.models.cross_encoder import TrainedCrossEncoder

ANY_SOURCE = SourceOptions()
COMMON = Common()


def fit_rerank(
    *,
    slow: Path,
    data: str,
    fast: str = "base",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    share: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 1.0,
    queries: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 400,
    common: Common = COMMON,
) -> None:
    """Fit a cross-encoder to a dual encoder: how much each counts, and how many candidates are worth it.

    It is fitted on pairs that neither model was trained on: without --split, those that their trainings
    held out. The result lies in the cross-encoder's folder and is used by search --rerank. Takes about a minute
    for each 200 queries.

    For example:

        diptych fit-rerank --fast base --slow runs/cross-encoder/model --data my-pairs.csv

        diptych fit-rerank --fast runs/mine/model --slow runs/cross-encoder/model --data f8k/ --split train --share 0.05

    Args:
        slow: The cross-encoder's folder.
        data: Source of pairs.
        fast: A shipped model's name, or a model folder.
        share: Use only the records that data.val_share of this size held out of the training split.
        queries: Texts, and pictures, that are asked for, at most.
    """
    need("torch", "diptych fit-rerank")
    from diptych.data.seen import Chosen, untrained
    from diptych.models import load
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.runs import reranking

    encoder, cross_encoder = load(fast), load_trained_cross_encoder(slow, device=common.device)
    opened = open_source(data, options)
    if share < 1:
        opened = Chosen(opened, reranking.of_share(list(opened), share), options.split)
    opened = untrained(opened, _learners(encoder, cross_encoder), progress=common.progress())
    report = reranking.fit(
        encoder,
        cross_encoder,
        list(opened),
        most=queries,
        seed=common.seed or 0,
        progress=common.progress(),
    )
    pair, fitted = report.pair, report.pair.fitted
    recalls = ", ".join(f"K {k}: {recall:.1f}" for k, recall in fitted["text_to_image R@1 by K"].items())
    common.show(
        report.to_json(),
        f"text to image: h + {pair.beta:g} cosine over the best {pair.k}; image to text: beta "
        f"{pair.beta_image_to_text:g}\n"
        f"R@1 on {fitted['pictures']} pictures (fitted on the same): fast alone "
        f"{fitted['dual encoder R@1']['text_to_image']:.1f}, re-ranked {recalls}\nkept in {report.path}",
        opened.notes,
    )


def _learners(fast: DualEncoder, slow: TrainedCrossEncoder) -> list[Learner]:
    from diptych.data.seen import learner_of

    return [learner_of(each.name, each.folder, each.config.training) for each in (fast, slow)]


def calibration(
    *,
    slow: Path,
    data: str,
    fast: str = "base",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    queries: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 400,
    plot: Path | None = None,
    common: Common = COMMON,
) -> None:
    """How far the probabilities of re-ranked hits can be trusted, on pairs other than those of fit-rerank.

    For example:

        diptych calibration --slow runs/cross-encoder/model --data flickr8k/ --split val --plot reliability.png

    Args:
        slow: The cross-encoder's folder, with what fit-rerank left in it.
        data: Source of pairs.
        fast: A shipped model's name, or a model folder.
        queries: Texts that are asked for, at most.
        plot: Draw the reliability diagram into this PNG.
    """
    check_file(plot, "--plot", PNG)
    need("torch", "diptych calibration")
    if plot is not None:
        need("matplotlib", "--plot")
    from diptych.core.files import write_bytes
    from diptych.data.seen import untrained
    from diptych.evaluation.reliability import draw_reliability
    from diptych.models import load
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.runs import reranking

    encoder, cross_encoder = load(fast), load_trained_cross_encoder(slow, device=common.device)
    opened = untrained(open_source(data, options), _learners(encoder, cross_encoder), progress=common.progress())
    report = reranking.check_relevance(
        encoder,
        cross_encoder,
        list(opened),
        most=queries,
        seed=common.seed or 0,
        progress=common.progress(),
    )
    if report.fitted_on:
        detail = "records that fit-rerank used too: on others the errors are larger; name other pairs, or a --split"
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
