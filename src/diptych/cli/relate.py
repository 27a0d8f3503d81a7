"""`diptych relate`."""

from __future__ import annotations

import io
from csv import writer
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError, DataError
from diptych.core.text import number
from diptych.core.types import Skipped
from diptych.data.readers import SourceOptions, open_source

from .outputs import CSV, JSON, check_file, write
from .shared import Common, ModelAddress, RerankerAddress, shortened
from .sources import Reading, not_trained_on

if TYPE_CHECKING:
    from diptych.core.notes import Notes
    from diptych.inspection.relating import Calibrations, PairScorer
    from diptych.runs.relating import Relations

_RERANKER = """Judge by this cross-encoder and the dual encoder together: its model folder, or blip:NAME_OR_FOLDER, for
an image and a text; a text cross-encoder's folder for two texts, the query first."""
_SHARE = Annotated[float | None, Parameter(validator=validators.Number(gt=0, lt=1))]


def relate(
    left: str | None = None,
    right: str | None = None,
    /,
    *,
    model: ModelAddress = "base",
    reranker: Annotated[RerankerAddress | None, Parameter(help=_RERANKER)] = None,
    kind: Literal["image-text", "text-text", "image-image"] | None = None,
    pairs: Path | None = None,
    calibration: Path | None = None,
    calibrate: str | None = None,
    calibrate_split: str | None = None,
    calibrate_pairs: Path | None = None,
    prior: _SHARE = None,
    threshold: _SHARE = None,
    csv: Path | None = None,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Say whether two things are related: an image and a text, two texts, or two images.

    The answer is yes or no with a probability, and says what it was calibrated on. The model base comes with a
    calibration for everyday photos; SigLIP models have a probability of their own for an image with a text; with
    --reranker it is what diptych rerank fit left for both models; for all others fit one with --calibrate. Without any,
    only the similarity is told.

    An argument is an image where it names a file or ends like an image's name, and a text otherwise.

    Examples:
        diptych relate dog.jpg "a dog on a beach"
        diptych relate "two dogs play" "zwei Hunde spielen"
        diptych relate photo.jpg "snow" --model hf:google/siglip2-base-patch16-224
        diptych relate dog.jpg "a dog on a beach" --reranker runs/cross-encoder/model
        diptych relate --calibrate my-pairs.csv --calibration mine.json
        diptych relate --pairs asked.csv --calibration mine.json --csv answers.csv

    Args:
        left: An image or a text.
        right: The other image or text.
        kind: What the two are, where they do not tell it; the image comes first.
        pairs: Many pairs: a CSV or JSON lines file with image and text, text1 and text2, image1 and image2, or left
            and right. With a column label (1 or 0) the answers are measured against it.
        calibration: JSON file of a calibration to use, or the filter.json of diptych data filter; with --calibrate or
            --calibrate-pairs, where it is written.
        calibrate: Fit a calibration on this source of records: what one record holds is related, what two hold is not.
        calibrate_split: Use only this split of --calibrate.
        calibrate_pairs: Fit a calibration on a file as of --pairs, whose column label says which are related.
        prior: Share of related pairs among those that are asked about; by default the calibration's, which is a half
            unless it was fitted otherwise.
        threshold: Probability from which on a pair is related; by default the calibration's, which is a half unless it
            was fitted otherwise.
        csv: Write a row for each pair here.
    """
    from diptych import runs
    from diptych.core.notes import Notes
    from diptych.data.pair_list import asked, read_pairs

    fits = calibrate is not None or calibrate_pairs is not None
    _check_arguments(left, right, pairs, calibrate, calibrate_split, calibrate_pairs)
    check_file(csv, "--csv", CSV, pairs or "")
    if fits:
        check_file(calibration, "--calibration", JSON, str(calibrate_pairs or calibrate))
    notes, skipped, progress = Notes(), list[Skipped](), common.progress()
    one = None if left is None or right is None else asked(left, right, kind)
    several = [] if pairs is None else read_pairs(pairs, kind, skipped, notes, options.encoding)
    scorer = runs.pair_scorer(model, reranker, device=common.device)
    fitted: Calibrations | None = None
    if fits:
        left_out = list[Skipped]()
        fitted = _fitted(
            scorer, calibrate, calibrate_split, calibrate_pairs, prior, threshold, options, left_out, notes, common
        )
        write(calibration, fitted.to_json())
        text = "\n".join([fitted.to_text(), *_left_out(left_out), *([str(calibration)] if calibration else [])])
        if one is None and not several:
            common.show(fitted.to_json() | {"skipped": [each.to_json() for each in left_out]}, text, notes)
            return
        for line in text.split("\n"):
            progress.say(line)
    try:
        found = runs.judge_pairs(
            scorer,
            several if one is None else [one],
            calibration=fitted if fits else calibration,
            prior=None if fits else prior,
            threshold=None if fits else threshold,
            one=one is not None,
            skipped=skipped,
            notes=notes,
            progress=progress,
        )
    except DataError as error:
        images = [str(side) for side, is_image in one.sides if is_image] if one is not None and kind is None else []
        if not any(image in str(error) for image in images):
            raise
        raise DataError(f"{error}; if it is a text, say what the two are with --kind", error.reason) from error
    write(csv, _table(found))
    common.show(found.to_json(), "\n".join(_lines(found, csv)), notes)


def _check_arguments(
    left: str | None,
    right: str | None,
    pairs: Path | None,
    calibrate: str | None,
    calibrate_split: str | None,
    calibrate_pairs: Path | None,
) -> None:
    if (left is None) != (right is None):
        raise ConfigError(f"found {left!r} alone; expected two things: an image and a text, two texts, or two images")
    if left is not None and pairs is not None:
        raise ConfigError("found two things and --pairs; leave one out")
    if calibrate is not None and calibrate_pairs is not None:
        raise ConfigError("found --calibrate and --calibrate-pairs; leave one out")
    if calibrate is None and calibrate_split is not None:
        raise ConfigError("--calibrate-split does nothing without --calibrate; leave it out")
    if left is None and pairs is None and calibrate is None and calibrate_pairs is None:
        raise ConfigError(
            'found nothing to relate; name an image and a text, two texts or two images: diptych relate dog.jpg "a dog"'
        )


def _fitted(
    scorer: PairScorer,
    source: str | None,
    split: str | None,
    pairs: Path | None,
    prior: float | None,
    threshold: float | None,
    options: SourceOptions,
    skipped: list[Skipped],
    notes: Notes,
    common: Common,
) -> Calibrations:
    """A calibration of a source, or of labelled pairs."""
    from diptych.data.pair_list import read_pairs
    from diptych.inspection.relating import fit_calibrations, fit_labelled

    least = 0.5 if threshold is None else threshold
    seed, progress = common.seed or 0, common.progress()
    if pairs is not None:
        rows = read_pairs(pairs, None, skipped, notes, options.encoding)
        if unlabelled := sum(row.label is None for row in rows):
            notes.add("without_label", "pairs without a label, not fitted on", count=unlabelled)
        return fit_labelled(
            scorer, rows, pairs.name, prior=prior, least=least, seed=seed, skipped=skipped, progress=progress
        )
    opened = not_trained_on(open_source(str(source), replace(options, split=split)), scorer.models, common)
    read = list(opened)
    notes.extend(opened.notes)
    return fit_calibrations(
        scorer,
        read,
        f"{opened.name} ({split})" if split else opened.name,
        prior=0.5 if prior is None else prior,
        least=least,
        seed=seed,
        skipped=skipped,
        progress=progress,
    )


def _left_out(skipped: list[Skipped]) -> list[str]:
    if not skipped:
        return []
    return [f"{number(len(skipped), 'pair')} left out:", *shortened([f"  {one.name}: {one.detail}" for one in skipped])]


def _lines(found: Relations, csv: Path | None) -> list[str]:
    many = len(found) > 1 or bool(found.pairs[0].where)
    lines = []
    if not csv or not many:
        told = [f"{one.to_text(found.measures)}" + (f"  {one.left} | {one.right}" if many else "") for one in found]
        lines += shortened(told)
    if many and any(one.related is not None for one in found):
        lines.append(f"{number(len(found), 'pair')}, {sum(bool(one.related) for one in found):,} related")
    lines += [found.judges[kind].to_text() for kind in found.kinds if kind in found.judges]
    if (measured := found.measured) is not None:
        shares = {name.replace("_", " "): value for name, value in measured.items() if name != "pairs"}
        told = [f"{name} {value:.1%}".replace("%", " %") for name, value in shares.items() if value is not None]
        lines.append(f"against the labels of {measured['pairs']:,}: {', '.join(told)}")
    return [*lines, *_left_out(list(found.skipped)), *([str(csv)] if csv else [])]


def _table(found: Relations) -> str:
    """CSV: both sides, the kind, yes or no (empty: not calibrated), the probability, the scores, where, the label."""
    stream = io.StringIO()
    rows = writer(stream)
    rows.writerow(["left", "right", "kind", "related", "probability", *found.measures, "where", "label"])
    for one in found:
        said = "" if one.related is None else ("yes" if one.related else "no")
        likely = "" if one.probability is None else f"{one.probability:.6f}"
        label = "" if one.label is None else int(one.label)
        scores = [f"{score:.6f}" for score in one.scores]
        rows.writerow([one.left, one.right, one.kind, said, likely, *scores, one.where, label])
    return stream.getvalue()
