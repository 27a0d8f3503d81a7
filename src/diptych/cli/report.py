"""`diptych report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from diptych.core.files import write_bytes, write_json
from diptych.core.notes import Notes
from diptych.data.readers import SourceOptions

from .outputs import HTML, check_file
from .shared import Common

ANY_SOURCE = SourceOptions()
COMMON = Common()


def report(
    run: Path,
    /,
    *,
    data: str = "",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    generator: str = "",
    train_split: str = "train",
    judge: str = "base",
    texts: int = 1000,
    noises: int = 2,
    languages: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    fields: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    bootstrap: int = 1000,
    features: str = "auto",
    maps: str = "auto",
    detector: Literal["none", "imagenet"] = "none",
    out: Path | None = None,
    common: Common = COMMON,
) -> None:
    """One page about a run: curves, samples by step, measures, failures, and the nearest training pictures.

    The page needs no network. With --data the run's model is measured first, as by diptych eval-generated, and
    the measures are kept in RUN/measures.json; without it those kept there are shown.

    For example:

        diptych report runs/xmc

        diptych report runs/xmc --data emoji/ --judge runs/judge/model --fields name

        diptych report runs/xmc --data flickr8k/ --split val --detector imagenet --out xmc.html

    Args:
        run: Folder of a training run.
        data: Source to measure on; its split is what is drawn: val, else test, else all of it, when left out.
        generator: What to measure instead of the run's own model.
        train_split: Split that the generator learnt from, for the nearest training pictures; "" for none.
        judge: Model that reads pictures and texts; not one that the generator was trained with. "" for none.
        texts: Texts to draw, at most.
        noises: Pictures of each text.
        languages: The first is the language of the texts (en when left out); of others the R-precision is told.
        fields: Only texts of this field, such as name; repeat for several.
        bootstrap: Resamples behind the intervals of means; 0 for none.
        features: What sees for distances, as in diptych eval-generated.
        maps: What sees for diversity, as in diptych eval-generated; "" leaves it out.
        detector: What looks for the objects that texts name.
        out: The page; RUN/report.html when left out.
    """
    from diptych.inspection.generators import (
        About,
        MeasureSettings,
        choose_splits,
        measure_generated,
        open_generator,
        read_outcome,
    )
    from diptych.inspection.generators.run_report import MEASURES, run_html

    from .eval_generated import tools

    check_file(out, "--out", HTML, data)
    outcome = looked = None
    notes = Notes()
    if data:
        looking = tools(judge, features, maps, detector, common.progress())
        lang, *others = languages or ("en",)
        settings = MeasureSettings(texts, noises, lang, tuple(others), tuple(fields), bootstrap=bootstrap)
        chosen = choose_splits(data, options, train_split)
        notes = chosen.source.notes
        outcome, looked = measure_generated(
            open_generator(generator or str(run / "model")),
            chosen.pairs,
            looking,
            settings,
            training=chosen.training,
            seed=common.seed or 0,
            about=About(generator or run.resolve().name, chosen.source.name, chosen.split, chosen.remarks),
            progress=common.progress(),
        )
    elif (run / MEASURES).is_file():
        outcome = read_outcome(run / MEASURES)
    target = out or run / "report.html"
    written = run_html(run, outcome, looked).encode()
    if data and outcome is not None:
        write_json(run / MEASURES, outcome.to_json())
    write_bytes(target, written)
    remarks = outcome.remarks if outcome is not None else ()
    told = {"report": str(target), "bytes": len(written), "measured": bool(data), "remarks": remarks}
    text = "\n".join([f"{target} ({len(written) / 1e6:.1f} MB)", *(f"- {remark}" for remark in remarks)])
    common.show(told, text, notes)
