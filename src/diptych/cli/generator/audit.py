"""`diptych generator audit`."""

from __future__ import annotations

from pathlib import Path

from diptych.cli.outputs import HTML, JSON, PNG, check_file, write
from diptych.cli.shared import Common, GeneratorAddress, ModelAddress
from diptych.cli.sources import Reading
from diptych.data.readers import SourceOptions, open_source


def audit(
    source: str = "",
    /,
    *,
    generator: GeneratorAddress,
    model: ModelAddress = "base",
    pairs: Path | None = None,
    options: Reading = SourceOptions(),
    fields: tuple[str, ...] = (),
    noises: int = 4,
    bootstrap: int = 1000,
    page: Path | None = None,
    png: Path | None = None,
    out: Path | None = None,
    common: Common = Common(),
) -> None:
    """Which attributes of a text survive in its generated image: colour, count, object.

    Both of two texts that differ in one attribute ("a red apple", "a green apple") are drawn, and the dual encoder
    says which of the two each image shows. Chance is half. With a source, pairs of its own texts that differ in one
    word are asked about too, and of real images as well.

    Examples:
        diptych generator audit --generator runs/xmc/model --model runs/judge/model --page audit.html
        diptych generator audit emoji/ --split val --fields name --generator runs/xmc/model --png audit.png
        diptych generator audit --generator runs/xmc/model --pairs sizes.jsonl --noises 8

    Args:
        source: Source whose own pairs of nearly the same text are asked about too.
        pairs: JSON lines of {"attribute", "one", "other"} to use instead of the usual pairs.
        fields: Only texts of this field of the source, such as name; repeat for several.
        noises: Images of each text.
        bootstrap: Resamples behind the intervals; 0 for none.
        page: Write the audit with images here as an HTML page.
        png: Draw some pairs of each attribute here.
        out: Write everything here as JSON.
    """
    from diptych.inspection.generators import open_generator
    from diptych.inspection.generators.audit import audit as audited
    from diptych.inspection.generators.audit_page import audit_html, audit_png
    from diptych.inspection.generators.minimal_pairs import pairs_in, read_minimal_pairs, usual_pairs
    from diptych.models import load

    check_file(out, "--out", JSON, source)
    check_file(page, "--page", HTML)
    check_file(png, "--png", PNG)
    lang = options.lang or "en"
    minimal = read_minimal_pairs(pairs) if pairs is not None else usual_pairs()
    opened = open_source(source, options) if source else None
    real = list(opened) if opened else []
    found = audited(
        open_generator(generator, common.device),
        load(model, device=common.device),
        [*minimal, *pairs_in(real, lang, fields)],
        pairs=real,
        noises=noises,
        seed=common.seed or 0,
        bootstrap=bootstrap,
        lang=lang,
        names=(generator, model),
        progress=common.progress(),
    )
    write(out, found.to_json())
    if page is not None:
        write(page, audit_html(found))
    if png is not None:
        write(png, audit_png(found))
    common.show(found.to_json(), found.to_text(), opened.notes if opened else ())
