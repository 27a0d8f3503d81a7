"""`diptych eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import JSON, MARKDOWN, PNG, check_file, write
from .shared import Common, ModelAddress, check_unused
from .sources import Reading

if TYPE_CHECKING:
    from diptych.evaluation import Report
    from diptych.runs import ZeroShotReport


def evaluate(
    source: str,
    /,
    *,
    task: Literal["retrieval", "zero-shot"] = "retrieval",
    model: ModelAddress = "base",
    dims: int | None = None,
    modality: Literal["image-text", "text-text", "image-image"] = "image-text",
    protocol: str = "full",
    options: Reading = SourceOptions(),
    languages: tuple[str, ...] = (),
    relevance: Literal["pair", "group"] = "pair",
    relevant_from: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0.0,
    views: tuple[str, ...] = ("flip", "crop-0", "crop-1"),
    reranker: Annotated[Path | None, Parameter(metavar="FOLDER")] = None,
    rerank: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    beta: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None,
    cuts: Annotated[tuple[int, ...], Parameter(validator=validators.Number(gte=1))] = (1, 5, 10),
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 1000,
    out: Path | None = None,
    markdown: Path | None = None,
    sheet: Path | None = None,
    sheet_queries: Literal["random", "worst", "best"] = "random",
    sheet_count: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=100))] = 6,
    labels: Annotated[str | None, Parameter(metavar="FILE|WORDS")] = None,
    templates: Annotated[str, Parameter(metavar="NAME|FILE")] = "photo",
    calibration: Path | None = None,
    plot: Path | None = None,
    common: Common = Common(),
) -> None:
    """Measure retrieval by the field's protocols, or classification by words.

    Prints recall, ranks, mAP, MRR, NDCG and precision with 95% intervals, in both directions and for every language.
    R@k is the share of queries with a hit among the first k; share@k is the share of the relevant ones found there.
    Images that cannot be read are left out, counted and named. Without --split, a model is measured on those records
    of its own data that its training held out, and on all records of other data. Where documents have labels that
    differ, the scores' Spearman and Pearson correlation with them is printed as well.

    With --task zero-shot the records have a class (a folder of images for each, or --group-column), and each image is
    given the nearest class by words, as diptych classify does: top-1, top-5, mean per class, confusions, calibration.

    Examples:
        diptych eval flickr8k/ --split val
        diptych eval my-pairs.csv --model runs/mine/model
        diptych eval my-pairs.csv --model base --split held-out
        diptych eval coco.json --split test --protocol 5fold --out report.json
        diptych eval recipes.jsonl --model runs/recipes/model --protocol bagged-1k --seed 7
        diptych eval captions.csv --languages de --languages fr --markdown report.md
        diptych eval flickr8k/ --split val --modality text-text
        diptych eval scifact/ --split test --model runs/texts/model --relevant-from 2
        diptych eval stsbenchmark/ --split val
        diptych eval pairs.tsv --reranker runs/text-cross-encoder/model --rerank 20
        diptych eval photos/ --modality image-image --relevance group --sheet found.png
        diptych eval classes/ --task zero-shot --templates clip
        diptych eval birds.csv --task zero-shot --group-column species --labels species.json --out report.json

    Args:
        source: File or folder of pairs.
        task: What is measured: retrieval, or zero-shot classification.
        dims: Use only the first so many dimensions, as a model trained with the matryoshka loss allows.
        modality: Images by texts and texts by images, texts by texts, or images by images. A source of texts only is
            measured by text-text: queries against documents where it has them, else texts of a record by each other.
        protocol: full, 1k, 5k, 5fold, bagged-1k, bagged-10k; or first:N, folds:KxN, bagged:BxN.
        languages: Use only texts in this language; repeat for several.
        relevance: By pair (an image and its texts; texts of one image; a view and its image) or by class (group).
        relevant_from: Of labelled documents: the smallest label that counts as relevant; by default all above 0 do.
            NDCG counts all labels above 0 as gains.
        views: Views used as queries in image-image retrieval by pair: flip, crop-0, crop-1, ...; repeat for several.
        reranker: A text cross-encoder that puts the best texts found by texts in another order.
        rerank: How many of them; by default as diptych rerank fit chose.
        beta: Weight of the cosine beside the re-ranker's score; by default as diptych rerank fit chose.
        cuts: The k of R@k, share@k, NDCG@k and P@k; repeat for several. Rsum needs 1, 5 and 10.
        bootstrap: Resamples behind the intervals; 0 for none.
        out: Write the whole report here as JSON, with the ranks that diptych compare reads.
        markdown: Write the report here as Markdown.
        sheet: Draw some queries with the first five found in the whole gallery, the right ones framed, as PNG.
        sheet_queries: Which queries the sheet shows: drawn at random, or those found worst or best.
        sheet_count: How many queries of each direction the sheet shows.
        labels: Of zero-shot: a file of labels called like the classes, as of diptych classify; by default the classes.
        templates: Of zero-shot: plain, photo, clip, or a file with a sentence a line and {} where the label goes.
        calibration: Of zero-shot: a calibration that diptych classify wrote.
        plot: Of zero-shot: draw stated against observed probabilities here, as PNG.
    """
    from diptych import runs
    from diptych.inspection.measure import Task
    from diptych.models import load, require_cosine

    of_retrieval: dict[str, Any] = {"modality": modality, "protocol": protocol, "languages": languages}
    of_retrieval |= {"relevance": relevance, "relevant_from": relevant_from, "views": views, "cuts": cuts}
    of_retrieval |= {"sheet": sheet, "reranker": reranker, "rerank": rerank, "beta": beta}
    of_zero_shot = {"labels": labels, "templates": templates, "calibration": calibration, "plot": plot}
    check_unused(evaluate, of_zero_shot if task == "retrieval" else of_retrieval, task)
    if reranker is None and (rerank is not None or beta is not None):
        raise ConfigError("--rerank and --beta say how a --reranker is used; name one, or leave them out")
    check_file(out, "--out", JSON, source)
    check_file(markdown, "--markdown", MARKDOWN, source)
    check_file(sheet, "--sheet", PNG)
    check_file(plot, "--plot", PNG)
    if plot is not None:
        need("matplotlib", "--plot")
    progress, seed = common.progress(), common.seed or 0
    asked = Task(modality, protocol, relevance, languages, views, cuts, bootstrap, seed, relevant_from)
    encoder = load(model, device=common.device)
    if sheet is not None:
        require_cosine(encoder, "the retrieval sheet")
    if dims is not None:
        encoder = encoder.truncated(dims)
    if task == "zero-shot":
        report: Report | ZeroShotReport = runs.evaluate_zero_shot(
            encoder,
            source,
            labels,
            templates=templates,
            calibration=calibration,
            options=options,
            resamples=bootstrap,
            seed=seed,
            progress=progress,
        )
    else:
        again = None
        if reranker is not None:
            from diptych.models.text_cross_encoder import load_text_cross_encoder
            from diptych.runs.text_reranking import text_reranker

            cross_encoder = load_text_cross_encoder(reranker, device=common.device)
            again = text_reranker(encoder, cross_encoder, beta=beta, k=rerank)
        measured = runs.measure_model(encoder, source, asked, options=options, reranker=again, progress=progress)
        report = measured.report
    write(out, report.to_json(ranks=True))
    write(markdown, report.table())
    if plot is not None and isinstance(report, runs.ZeroShotReport):
        from diptych.inspection.curves import draw_reliability

        if not report.reliability:
            raise ConfigError("--plot draws probabilities, and this model's scores are cosines; give --calibration")
        write(plot, draw_reliability({"first label": report.reliability}, f"{report.model} on {report.source}"))
        progress.say(f"plot: {plot}")
    if sheet is not None:
        from diptych.inspection.sheet import draw_measured

        drawn = draw_measured(measured, encoder.preprocess, how=sheet_queries, count=sheet_count, seed=seed)
        write(sheet, drawn)
        progress.say(f"retrieval sheet: {sheet}")
    common.show(report.to_json(), report.table())
