"""`diptych eval-generated`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from diptych.core.extras import is_installed, need
from diptych.core.files import write_bytes, write_json
from diptych.core.protocols import Progress
from diptych.data.readers import SourceOptions

from .outputs import JSON, MARKDOWN, check_file
from .shared import Common

if TYPE_CHECKING:
    from diptych.inspection.generators import Tools

ANY_SOURCE = SourceOptions()
COMMON = Common()


def eval_generated(
    generator: str,
    /,
    *,
    data: str,
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    train_split: str = "train",
    judge: str = "base",
    texts: int = 1000,
    noises: int = 2,
    languages: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    fields: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    pool: int = 100,
    bootstrap: int = 1000,
    features: str = "auto",
    maps: str = "auto",
    detector: Literal["none", "imagenet"] = "none",
    out: Path | None = None,
    markdown: Path | None = None,
    common: Common = COMMON,
) -> None:
    """Measure a generator of pictures on held-out texts, with real pictures beside by the same rules.

    Fréchet and kernel distance, precision and recall, class score, R-precision, retrieval with the generated
    picture, diversity, objects found, and how much looks copied from the training pictures; with 95% intervals.
    The numbers are called FID, KID and IS only with Inception's official weights.

    For example:

        diptych eval-generated runs/xmc/model --data emoji/ --split val --judge runs/judge/model --fields name

        diptych eval-generated runs/xmc/model --data emoji/ --languages de --languages zh --out measures.json

        diptych eval-generated images:made.jsonl --data flickr8k/ --split val --detector imagenet

    Args:
        generator: A shipped generator's name, a trained one's folder, or images:SOURCE for images that another
            program made, each listed with its text.
        data: File or folder of pairs; its split is what is drawn: val, else test, else all of it, when left out.
        train_split: Split that the generator learnt from, for the check of copies; "" for none.
        judge: Model that reads pictures and texts; it must not be one that the generator was trained with.
        texts: Texts to draw, at most; every pair once before any comes again.
        noises: Pictures of each text.
        languages: The first is the language of the texts (en when left out); of others the R-precision is told.
        fields: Only texts of this field, such as name; repeat for several.
        pool: Texts that R-precision chooses from.
        bootstrap: Resamples behind the intervals of means; 0 for none.
        features: What sees for distances: efficientnet-lite0, base (the same, without PyTorch and without classes),
            inception:WEIGHTS.pth, or any image tower; auto is the first, or the second without the [train] extra.
        maps: What sees for diversity; "" leaves it out; auto is efficientnet-lite0-maps, or "" without [train].
        detector: What looks for the objects that texts name.
        out: Write the measures here as JSON; RUN/measures.json is where diptych report looks.
        markdown: Write the table here as Markdown.
    """
    check_file(out, "--out", JSON, data)
    check_file(markdown, "--markdown", MARKDOWN, data)
    from diptych.inspection.generators import (
        About,
        MeasureSettings,
        choose_splits,
        measure_generated,
        open_generator,
    )

    looking = tools(judge, features, maps, detector, common.progress())
    settings = MeasureSettings(
        texts,
        noises,
        languages[0] if languages else "en",
        tuple(languages[1:]),
        tuple(fields),
        pool,
        bootstrap=bootstrap,
    )
    chosen = choose_splits(data, options, train_split)
    outcome, _ = measure_generated(
        open_generator(generator),
        chosen.pairs,
        looking,
        settings,
        training=chosen.training,
        seed=common.seed or 0,
        about=About(generator, chosen.source.name, chosen.split, chosen.remarks),
        progress=common.progress(),
    )
    if out is not None:
        write_json(out, outcome.to_json())
    if markdown is not None:
        write_bytes(markdown, (outcome.to_text() + "\n").encode())
    common.show(outcome.to_json(), outcome.to_text(), chosen.source.notes)


def tools(judge: str, features: str, maps: str, detector: str, progress: Progress) -> Tools:
    """What looks at the pictures, by name. Raises MissingExtraError for what is not installed."""
    from diptych.inspection.generators import MapExtractor, Tools, open_extractor
    from diptych.inspection.generators.extractors import BUNDLED, DEFAULT
    from diptych.models import load

    lacks = not is_installed("torch")
    named = {"auto": BUNDLED if lacks else DEFAULT}.get(features, features)
    mapped = {"auto": "" if lacks else "efficientnet-lite0-maps"}.get(maps, maps)
    found = None
    if detector == "imagenet":
        need("torch", "--detector imagenet")
        from diptych.encoders.image.imagenet_classes import ImageNetDetector

        found = ImageNetDetector()
    looking = Tools(
        load(judge) if judge else None, open_extractor(named), MapExtractor(mapped) if mapped else None, found
    )
    if lacks and "auto" in (features, maps):
        progress.say("no class score and no diversity without PyTorch; for them: pip install 'diptych[train]'")
    return looking
