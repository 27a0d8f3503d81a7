"""`diptych generator eval`."""

from __future__ import annotations

from pathlib import Path

from diptych.cli.outputs import JSON, MARKDOWN, check_file, write
from diptych.cli.shared import Common, GeneratorAddress, ModelAddress
from diptych.cli.sources import Reading
from diptych.data.readers import SourceOptions

from .measuring import Measuring


def evaluate(
    source: str,
    /,
    *,
    generator: GeneratorAddress,
    model: ModelAddress = "base",
    out: Path | None = None,
    markdown: Path | None = None,
    measuring: Measuring = Measuring(),
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Measure a generator on held-out texts, and real images by the same rules for comparison.

    Fréchet and kernel distance, precision and recall, class score, R-precision, retrieval with the generated
    image, diversity, objects found, and how much looks copied from the training images; with 95% intervals.
    The numbers are called FID, KID and IS only with Inception's official weights.

    The dual encoder reads images and texts for R-precision and retrieval; it must not be one that the generator
    was trained with. Images that another program made are measured as --generator images:SOURCE, a source that
    lists each with its text.

    Examples:
        diptych generator eval emoji/ --split val --generator runs/xmc/model --model runs/judge/model --fields name
        diptych generator eval emoji/ --generator emoji --languages de --languages zh --out measures.json
        diptych generator eval recipes/ --split val --generator runs/x-mrs-image/model --given image
        diptych generator eval flickr8k/ --split val --generator images:made.jsonl --detector imagenet

    Args:
        source: File or folder of pairs. The texts of its split are drawn: without --split val, else test, else all.
        out: Write the measures here as JSON; RUN/measures.json is where diptych generator report looks.
        markdown: Write the table here as Markdown.
    """
    check_file(out, "--out", JSON, source)
    check_file(markdown, "--markdown", MARKDOWN, source)
    outcome, _, notes = measuring.measure(generator, source, options, model, common)
    write(out, outcome.to_json())
    write(markdown, f"{outcome.to_text()}\n")
    common.show(outcome.to_json(), outcome.to_text(), notes)
