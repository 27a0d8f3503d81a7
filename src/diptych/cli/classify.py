"""`diptych classify`."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from csv import writer
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError, DataError
from diptych.core.text import number
from diptych.core.types import Skipped
from diptych.data.image_inputs import SUFFIXES
from diptych.data.image_walk import is_image_file
from diptych.data.readers import SourceOptions, open_source

from .outputs import CSV, JSON, check_file, write
from .shared import MOST_LISTED, Common, ModelAddress, shortened
from .sources import Reading, not_trained_on

if TYPE_CHECKING:
    from diptych.core.notes import Notes
    from diptych.data.images import ImageInput
    from diptych.inspection.zero_shot import Classification


def classify(
    *images: str,
    labels: Annotated[str, Parameter(metavar="FILE|WORDS")],
    templates: Annotated[str, Parameter(metavar="NAME|FILE")] = "photo",
    model: ModelAddress = "base",
    top: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 5,
    none: float | None = None,
    calibrate: str | None = None,
    calibrate_split: str | None = None,
    calibration: Path | None = None,
    csv: Path | None = None,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Give images the nearest of some labels, by words alone: nothing is trained.

    Each label is put into several sentences (templates), whose vectors are averaged. Scores are probabilities where
    the model keeps its temperature (CLIP: which of the labels; SigLIP: each label by itself) or a calibration is
    given, otherwise cosines. Without --none or a calibration every image gets a label, however far away it is.

    Labels stand in a text file, one a line; in a JSON file, {"dog": ["dog", "hound"]}; in a CSV file with the columns
    label, name, prompt; or here, with commas between them.

    Examples:
        diptych classify photos/ --labels labels.txt
        diptych classify a.jpg b.jpg --labels dog,cat,bicycle --top 1
        diptych classify photos/ --labels labels.json --templates clip --model hf:openai/clip-vit-base-patch32
        diptych classify --labels labels.txt --calibrate classes/ --calibration labels-calibration.json
        diptych classify photos/ --labels labels.txt --calibration labels-calibration.json --csv labelled.csv

    Args:
        images: Image files, folders, or sources of pairs, whose images are taken.
        labels: File of the labels, or words with commas between them.
        templates: plain (the label alone), photo (a few sentences), clip (many), or a file with a sentence a line and
            {} where the label goes.
        top: How many labels of each image to give.
        none: An image whose first score is below this has none of the labels.
        calibrate: Source of images with classes (a folder for each, or --group-column) to fit probabilities on, and
            to tell images of none of the labels.
        calibrate_split: Use only this split of --calibrate.
        calibration: JSON file of a calibration to use; with --calibrate, where it is written.
        csv: Write a row for each image here.
    """
    from diptych import runs
    from diptych.core.notes import Notes
    from diptych.inspection.classes import calibrate_labels
    from diptych.inspection.zero_shot import Classification, classify_images

    if not images and calibrate is None:
        raise ConfigError("found no images; name image files, folders or sources, or --calibrate a source of classes")
    if calibrate is None and calibrate_split is not None:
        raise ConfigError("--calibrate-split does nothing without --calibrate; leave it out")
    if none is not None and not math.isfinite(none):
        raise ConfigError(f"--none must be a number, found {none}")
    check_file(csv, "--csv", CSV)
    if calibrate is not None:
        check_file(calibration, "--calibration", JSON, calibrate)
    progress, notes, skipped = common.progress(), Notes(), list[Skipped]()
    scorer = runs.label_scorer(
        model,
        labels,
        templates,
        calibration=calibration if calibrate is None else None,
        encoding=options.encoding,
        device=common.device,
        notes=notes,
        progress=progress,
    )
    if calibrate is not None:
        source = open_source(calibrate, replace(options, split=calibrate_split))
        opened = not_trained_on(source, [scorer.model], common)
        fitted = calibrate_labels(scorer, opened, seed=common.seed or 0, progress=progress)
        scorer = scorer.calibrated(fitted.fitted)
        write(calibration, fitted.to_json())
        if not images:
            text = [fitted.to_text(), *([str(calibration)] if calibration else [])]
            common.show(fitted.to_json(), "\n".join(text), [*notes, *opened.notes])
            return
        progress.say(fitted.to_text())
    shown = _images(images, options, notes, skipped)
    found = tuple(classify_images(scorer, shown, top=top, least=none, skipped=skipped, progress=progress))
    if not found:
        raise DataError(f"none of the {len(skipped):,} images could be read; {_said(skipped[0])}", skipped[0].reason)
    done = Classification(found, scorer.names, scorer.scored_by, scorer.model.name, tuple(skipped), notes)
    write(csv, _table(done, top))
    common.show(done.to_json(), "\n".join(_lines(done, csv)), notes)


def _images(names: Sequence[str], options: SourceOptions, notes: Notes, skipped: list[Skipped]) -> Iterator[ImageInput]:
    """Image files as they are, and the images of everything else, which is read as a source."""
    for name in names:
        if is_image_file(Path(name)) or (Path(name).suffix.lower() in SUFFIXES and not Path(name).is_dir()):
            yield name
            continue
        source = open_source(name, options)
        for pair in source:
            yield from pair.images
        skipped += source.skipped
        notes.extend(source.notes)


def _lines(done: Classification, csv: Path | None) -> list[str]:
    from diptych.inspection.zero_shot import NONE

    counts = Counter(one.label or NONE for one in done.images)
    scores = "cosines" if done.scored_by == "cosine" else "probabilities"
    lines = [] if csv else shortened([one.to_text() for one in done.images])
    lines.append(
        f"{number(len(done), 'image')}, {number(len(done.labels), 'label')}, by {done.model}; scores are {scores}"
    )
    if len(done) > 1:
        more = len(counts) - MOST_LISTED
        listed = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(MOST_LISTED))
        lines.append(listed + (f" and {number(more, 'label')} more" if more > 0 else ""))
    if done.scored_by == "cosine" and len(done.labels) > 1:
        lines.append("the model keeps no temperature; --calibrate SOURCE fits one, so that scores become probabilities")
    if done.skipped:
        lines.append(
            f"{number(len(done.skipped), 'image')} left out as unreadable, the first: {_said(done.skipped[0])}"
        )
    return [*lines, *([str(csv)] if csv else [])]


def _said(skip: Skipped) -> str:
    return f"{skip.name}: {skip.reason.value}" + (f" ({skip.detail})" if skip.detail else "")


def _table(done: Classification, top: int) -> str:
    """CSV: the image, its label (empty: none of these), how likely none fits, then the labels in order with scores."""
    most = min(top, len(done.labels))
    names = [f"{what}_{place}" for place in range(1, most + 1) for what in ("label", "score")]
    stream = io.StringIO()
    rows = writer(stream)
    rows.writerow(["image", "label", "none", *names])
    for one in done.images:
        scores = [value for label, score in one.scores for value in (label, f"{score:.6f}")]
        rows.writerow([one.image, one.label or "", "" if one.none is None else f"{one.none:.6f}", *scores])
    return stream.getvalue()
