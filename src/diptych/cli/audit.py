"""`diptych audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.core.files import write_bytes, write_json
from diptych.data.readers import SourceOptions, open_source

from .outputs import HTML, JSON, PNG, check_file
from .shared import Common

ANY_SOURCE = SourceOptions()
COMMON = Common()


def audit(
    generator: str,
    /,
    *,
    model: str = "base",
    pairs: Path | None = None,
    data: str = "",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    fields: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    noises: int = 4,
    bootstrap: int = 1000,
    page: Path | None = None,
    png: Path | None = None,
    out: Path | None = None,
    common: Common = COMMON,
) -> None:
    """Which attributes of a text survive in its picture: colour, count, object.

    Both of two texts that differ in one attribute ("a red apple", "a green apple") are drawn, and a retrieval
    model says which of the two each picture shows. Chance is half. With a source, pairs of its own texts that
    differ in one word are asked too, of real pictures as well.

    For example:

        diptych audit runs/xmc/model --model runs/judge/model --page audit.html

        diptych audit runs/xmc/model --data emoji/ --split val --fields name --png audit.png

        diptych audit runs/xmc/model --pairs sizes.jsonl --noises 8

    Args:
        generator: A shipped generator's name, a trained one's folder, or images:SOURCE.
        model: The retrieval model that is asked: a shipped model's name, or a model folder.
        pairs: JSON lines of {"attribute", "one", "other"} to use instead of the usual pairs.
        data: Source whose own minimal pairs are asked too.
        fields: Only texts of this field of the source, such as name; repeat for several.
        noises: Pictures of each text.
        bootstrap: Resamples behind the intervals; 0 for none.
        page: Write the audit with pictures here as an HTML page.
        png: Draw some pairs of each attribute here.
        out: Write everything here as JSON.
    """
    from diptych.inspection.generators import open_generator
    from diptych.inspection.generators.audit import audit as audited
    from diptych.inspection.generators.audit_page import audit_html, audit_png
    from diptych.inspection.generators.minimal_pairs import pairs_in, read_minimal_pairs, usual_pairs
    from diptych.models import load

    check_file(out, "--out", JSON, data)
    check_file(page, "--page", HTML)
    check_file(png, "--png", PNG)
    lang = options.lang or "en"
    minimal = read_minimal_pairs(pairs) if pairs is not None else usual_pairs()
    opened = open_source(data, options) if data else None
    real = list(opened) if opened else []
    found = audited(
        open_generator(generator),
        load(model),
        [*minimal, *pairs_in(real, lang, fields)],
        pairs=real,
        noises=noises,
        seed=common.seed or 0,
        bootstrap=bootstrap,
        lang=lang,
        names=(generator, model),
        progress=common.progress(),
    )
    if out is not None:
        write_json(out, found.to_json())
    if page is not None:
        write_bytes(page, audit_html(found).encode())
    if png is not None:
        write_bytes(png, audit_png(found))
    common.show(found.to_json(), found.to_text(), opened.notes if opened else ())
