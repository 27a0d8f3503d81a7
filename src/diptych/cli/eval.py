"""`diptych eval`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.files import write_bytes, write_json
from diptych.data.readers import SourceOptions, open_source

from .shared import Common

ANY_SOURCE = SourceOptions()
COMMON = Common()


def evaluate(
    source: str,
    /,
    *,
    model: str = "base",
    protocol: str = "full",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    languages: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    relevance: Literal["pair", "group"] = "pair",
    cuts: Annotated[tuple[int, ...], Parameter(negative="", validator=validators.Number(gte=1))] = (1, 5, 10),
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 1000,
    out: Path | None = None,
    markdown: Path | None = None,
    common: Common = COMMON,
) -> None:
    """Measure retrieval by the field's protocols, in both directions and for every language.

    Prints recall, ranks, mAP, MRR, NDCG and precision with 95% intervals. Images that cannot be
    read are left out, counted and named.

    For example:

        diptych eval flickr8k/ --split val

        diptych eval coco.json --split test --protocol 5fold --out report.json

        diptych eval recipes.jsonl --model runs/recipes --protocol bagged-1k --seed 7

        diptych eval captions.csv --languages de --languages fr --markdown report.md

    Args:
        source: File or folder of pairs.
        model: A shipped model's name, or a model folder.
        protocol: full, 1k, 5k, 5fold, bagged-1k, bagged-10k; or first:N, folds:KxN, bagged:BxN.
        languages: Use only texts in this language; repeat for several.
        relevance: Whether a text is relevant to its own image (pair) or to its whole class (group).
        cuts: The k of R@k, NDCG@k and P@k; repeat for several. Rsum needs 1, 5 and 10.
        bootstrap: Resamples behind the intervals; 0 for none.
        out: Write the whole report here as JSON.
        markdown: Write the report here as Markdown.
    """
    from diptych import evaluation
    from diptych.models import load
    from diptych.models.embed import embed_pairs

    chosen = evaluation.parse_protocol(protocol)
    encoder = load(model)
    progress = common.progress()
    collection = open_source(source, options)
    vectors = embed_pairs(encoder, list(collection), languages=languages, progress=progress)
    report = evaluation.Report(
        evaluation.evaluate(
            evaluation.Embedded(
                vectors.images,
                vectors.texts,
                vectors.owner,
                vectors.languages,
                evaluation.group_labels(vectors.groups) if relevance == "group" else None,
            ),
            chosen,
            cuts=cuts,
            resamples=bootstrap,
            seed=common.seed or 0,
            made_for=encoder.languages,
            progress=progress,
        ),
        model=encoder.name,
        model_fingerprint=encoder.fingerprint,
        source=collection.name,
        split=options.split,
        languages_asked=languages,
        skipped=(*collection.skipped, *vectors.skipped),
        skipped_texts=vectors.skipped_texts,
        pairs_without_texts=vectors.without_texts,
    )
    if out is not None:
        write_json(out, report.to_json())
    if markdown is not None:
        write_bytes(markdown, report.to_markdown().encode())
    common.show(report.to_json(), report.to_markdown())
