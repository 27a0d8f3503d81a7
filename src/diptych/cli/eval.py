"""`diptych eval`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.data.readers import SourceOptions

from .outputs import JSON, MARKDOWN, PNG, check_file, write
from .shared import Common, ModelAddress
from .sources import Reading


def evaluate(
    source: str,
    /,
    *,
    model: ModelAddress = "base",
    dims: int | None = None,
    modality: Literal["image-text", "text-text", "image-image"] = "image-text",
    protocol: str = "full",
    options: Reading = SourceOptions(),
    languages: tuple[str, ...] = (),
    relevance: Literal["pair", "group"] = "pair",
    views: tuple[str, ...] = ("flip", "crop-0", "crop-1"),
    cuts: Annotated[tuple[int, ...], Parameter(validator=validators.Number(gte=1))] = (1, 5, 10),
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 1000,
    out: Path | None = None,
    markdown: Path | None = None,
    sheet: Path | None = None,
    sheet_queries: Literal["random", "worst", "best"] = "random",
    sheet_count: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=100))] = 6,
    common: Common = Common(),
) -> None:
    """Measure retrieval by the field's protocols, in both directions and for every language.

    Prints recall, ranks, mAP, MRR, NDCG and precision with 95% intervals. Images that cannot be
    read are left out, counted and named. Without --split, a model is measured on those records of
    its own data that its training held out, and on all records of other data.

    Examples:
        diptych eval flickr8k/ --split val
        diptych eval my-pairs.csv --model runs/mine/model
        diptych eval my-pairs.csv --model base --split held-out
        diptych eval coco.json --split test --protocol 5fold --out report.json
        diptych eval recipes.jsonl --model runs/recipes/model --protocol bagged-1k --seed 7
        diptych eval captions.csv --languages de --languages fr --markdown report.md
        diptych eval flickr8k/ --split val --modality text-text
        diptych eval photos/ --modality image-image --relevance group --sheet found.png

    Args:
        source: File or folder of pairs.
        dims: Use only the first so many dimensions, as a model trained with the matryoshka loss allows.
        modality: Images by texts and texts by images, texts by texts, or images by images.
        protocol: full, 1k, 5k, 5fold, bagged-1k, bagged-10k; or first:N, folds:KxN, bagged:BxN.
        languages: Use only texts in this language; repeat for several.
        relevance: By pair (an image and its texts; texts of one image; a view and its image) or by class (group).
        views: Views used as queries in image-image retrieval by pair: flip, crop-0, crop-1, ...; repeat for several.
        cuts: The k of R@k, NDCG@k and P@k; repeat for several. Rsum needs 1, 5 and 10.
        bootstrap: Resamples behind the intervals; 0 for none.
        out: Write the whole report here as JSON, with the ranks that diptych compare reads.
        markdown: Write the report here as Markdown.
        sheet: Draw some queries with the first five found in the whole gallery, the right ones framed, as PNG.
        sheet_queries: Which queries the sheet shows: drawn at random, or those found worst or best.
        sheet_count: How many queries of each direction the sheet shows.
    """
    from diptych import runs
    from diptych.inspection.measure import Task
    from diptych.models import load, require_cosine

    check_file(out, "--out", JSON, source)
    check_file(markdown, "--markdown", MARKDOWN, source)
    check_file(sheet, "--sheet", PNG)
    task = Task(modality, protocol, relevance, languages, views, cuts, bootstrap, common.seed or 0)
    encoder = load(model, device=common.device)
    if sheet is not None:
        require_cosine(encoder, "the retrieval sheet")
    if dims is not None:
        encoder = encoder.truncated(dims)
    measured = runs.measure_model(encoder, source, task, options=options, progress=common.progress())
    report = measured.report
    write(out, report.to_json(ranks=True))
    write(markdown, report.table())
    if sheet is not None:
        from diptych.inspection.sheet import draw_measured

        drawn = draw_measured(measured, encoder.preprocess, how=sheet_queries, count=sheet_count, seed=common.seed or 0)
        write(sheet, drawn)
        common.progress().say(f"retrieval sheet: {sheet}")
    common.show(report.to_json(), report.table())
