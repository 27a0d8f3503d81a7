"""`diptych generator report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.cli.outputs import HTML, check_file
from diptych.cli.shared import Common, GeneratorAddress, ModelAddress
from diptych.cli.sources import Reading
from diptych.core.files import write_bytes, write_json
from diptych.core.notes import Notes
from diptych.data.readers import SourceOptions

from .measuring import Measuring


def report(
    run: Path,
    source: str = "",
    /,
    *,
    generator: Annotated[GeneratorAddress, Parameter(help="Generator to measure instead of the run's own.")] = "",
    model: ModelAddress = "base",
    out: Path | None = None,
    measuring: Measuring = Measuring(),
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """One page about a run: curves, samples by step, measures, failures, and the nearest training images.

    The page needs no network. With a source the run's generator is measured first, as by diptych generator eval,
    and the measures are kept in RUN/measures.json; without one those kept there are shown. Of a run of any other
    kind the page shows the curves.

    Examples:
        diptych generator report runs/xmc
        diptych generator report runs/xmc emoji/ --model runs/judge/model --fields name
        diptych generator report runs/xmc flickr8k/ --split val --detector imagenet --out xmc.html

    Args:
        run: Folder of a training run.
        source: Source to measure on. The texts of its split are drawn: without --split val, else test, else all.
        out: The page; RUN/report.html when left out.
    """
    from diptych.inspection.generators import read_generator_report
    from diptych.inspection.generators.run_report import MEASURES, run_html

    check_file(out, "--out", HTML, source)
    outcome = looked = None
    notes = Notes()
    if source:
        outcome, looked, notes = measuring.measure(
            generator or str(run / "model"), source, options, model, common, generator or run.resolve().name
        )
    elif (run / MEASURES).is_file():
        outcome = read_generator_report(run / MEASURES)
    target = out or run / "report.html"
    written = run_html(run, outcome, looked).encode()
    if source and outcome is not None:
        write_json(run / MEASURES, outcome.to_json())
    write_bytes(target, written)
    remarks = outcome.remarks if outcome is not None else ()
    told = {"report": str(target), "bytes": len(written), "measured": bool(source), "remarks": remarks}
    text = "\n".join([f"{target} ({len(written) / 1e6:.1f} MB)", *(f"- {remark}" for remark in remarks)])
    common.show(told, text, notes)
