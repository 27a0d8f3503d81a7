"""`diptych detector eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from diptych.cli.outputs import JSON, MARKDOWN, check_file, write
from diptych.cli.shared import Common
from diptych.cli.sources import Reading
from diptych.data.readers import SourceOptions, open_source


def evaluate(
    source: str,
    /,
    *,
    detector: str,
    threshold: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lte=1))] = None,
    images: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1000,
    least: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 10,
    size: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    out: Path | None = None,
    markdown: Path | None = None,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Is a detector good enough for SOA: what it finds in real images, against what their English captions name.

    Precision, recall and how often a class is found where no caption names it, with 95% intervals, for each class that
    enough images name; for detectors with scores also at other thresholds. Captions leave much out, so precision is a
    lower bound. The words that name each class are in diptych.evaluation.generative.object_words.

    Examples:
        diptych detector eval flickr8k/ --split val --detector onnx:centernet.onnx
        diptych detector eval flickr8k/ --split val --detector onnx:centernet.onnx --size 128 --out at128.json
        diptych detector eval flickr8k/ --split val --detector imagenet --images 300

    Args:
        source: File or folder of pairs of real images and English captions.
        detector: imagenet, onnx:FILE, torchvision:NAME[:WEIGHTS], or a registered one.
        threshold: The least score that counts as found; the detector's own when left out.
        images: Images to look at, at most, drawn by the seed; the first of each record.
        least: Images that must name a class before it is listed and counts towards the mean.
        size: Squash the images to this many pixels first, as a generator's images are; 0 leaves them as they are.
        out: Write everything here as JSON.
        markdown: Write the tables here as Markdown.
    """
    check_file(out, "--out", JSON, source)
    check_file(markdown, "--markdown", MARKDOWN, source)
    from diptych.encoders.detectors import open_detector
    from diptych.inspection.detection import check_detector

    opened_detector = open_detector(detector, threshold, common.device)
    opened = open_source(source, options)
    report = check_detector(
        opened_detector,
        list(opened),
        images=images,
        size=size,
        least=least,
        seed=common.seed or 0,
        source=opened.name,
        split=options.split or "",
        progress=common.progress(),
    )
    found, text = report.to_json(), report.to_text()
    write(out, found)
    write(markdown, f"{text}\n")
    common.show(found, text, opened.notes)
