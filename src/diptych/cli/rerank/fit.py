"""`diptych rerank fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from diptych.cli.shared import Common, ModelAddress, RerankerAddress
from diptych.cli.sources import Reading, not_trained_on
from diptych.data.readers import SourceOptions, open_source

if TYPE_CHECKING:
    from diptych.runs.reranking import FitReport


def fit(
    source: str,
    /,
    *,
    reranker: RerankerAddress,
    model: ModelAddress = "base",
    options: Reading = SourceOptions(),
    share: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 1.0,
    queries: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 400,
    common: Common = Common(),
) -> None:
    """Fit a re-ranker to a dual encoder: how much the score of each counts, and how many candidates are worth it.

    It is fitted on pairs that neither model was trained on: without --split, those that their trainings
    held out. The result is kept in the re-ranker's folder and used by search --rerank, or by eval --reranker where it
    is a text cross-encoder. It takes about a minute for each 200 queries.

    Examples:
        diptych rerank fit my-pairs.csv --model base --reranker runs/cross-encoder/model
        diptych rerank fit paraphrases.tsv --model base --reranker runs/text-cross-encoder/model
        diptych rerank fit f8k/ --split train --share 0.05 --model runs/mine/model --reranker runs/cross-encoder/model

    Args:
        source: File or folder of pairs.
        share: Use only the records that data.val_share of this size held out of the training split.
        queries: Texts, and images, that are searched for, at most.
    """
    from diptych.data.seen import Chosen
    from diptych.inspection.relating import Calibrations
    from diptych.models import load
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.models.text_cross_encoder import is_text_cross_encoder, load_text_cross_encoder
    from diptych.runs import reranking, text_reranking

    encoder = load(model, device=common.device)
    of_texts = is_text_cross_encoder(reranker)
    loaded = load_text_cross_encoder if of_texts else load_trained_cross_encoder
    cross_encoder: Any = loaded(reranker, device=common.device)
    opened = open_source(source, options)
    if share < 1:
        opened = Chosen(opened, reranking.of_share(list(opened), share), options.split)
    opened = not_trained_on(opened, [encoder, cross_encoder], common)
    drawn: dict[str, Any] = {"most": queries, "seed": common.seed or 0, "progress": common.progress()}
    if of_texts:
        report = text_reranking.fit_text_reranker(encoder, cross_encoder, list(opened), **drawn)
        common.show(report.to_json(), _of_texts(report), opened.notes)
        return
    report = reranking.fit_reranker(encoder, cross_encoder, list(opened), named=opened.name, **drawn)
    pair, fitted = report.pair, report.pair.fitted
    single = "too few pairs to calibrate single ones for diptych relate"
    if pair.relate:
        single = f"diptych relate --reranker: {Calibrations.from_json(pair.relate).to_text()}"
    recalls = ", ".join(f"K {k}: {recall:.1f}" for k, recall in fitted["text_to_image R@1 by K"].items())
    common.show(
        report.to_json(),
        f"text to image: h + {pair.beta:g} cosine over the best {pair.k}; image to text: beta "
        f"{pair.beta_image_to_text:g}\n"
        f"R@1 on {fitted['pictures']} images (fitted on the same): dual encoder alone "
        f"{fitted['dual encoder R@1']['text_to_image']:.1f}, re-ranked {recalls}\n{single}\nkept in {report.path}",
        opened.notes,
    )


def _of_texts(report: FitReport) -> str:
    pair, fitted = report.pair, report.pair.fitted
    recalls = ", ".join(f"K {k}: {recall:.1f}" for k, recall in fitted["text_to_text R@1 by K"].items())
    return (
        f"text to text: score + {pair.beta:g} cosine over the best {pair.k}\n"
        f"R@1 of {fitted['queries']['text_to_text']:,} texts among {fitted['texts']:,} (fitted on the same): dual "
        f"encoder alone {fitted['dual encoder R@1']['text_to_text']:.1f}, re-ranked {recalls}\nkept in {report.path}"
    )
