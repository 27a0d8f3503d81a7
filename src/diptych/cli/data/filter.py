"""`diptych data filter`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.cli.engines import WORKERS, EngineAddress, EngineName, Workers, check_engine, opened_engine
from diptych.cli.outputs import check_folder
from diptych.cli.shared import Common, ModelAddress
from diptych.cli.sources import Reading, learners
from diptych.core.extras import need
from diptych.data.readers import SourceOptions, open_source


def filter_source(
    source: str,
    /,
    *,
    out: Path,
    model: ModelAddress = "base",
    options: Reading = SourceOptions(),
    calibration: str | None = None,
    calibration_split: str | None = None,
    criterion: Literal["probability", "equal-error", "precision", "recall"] = "probability",
    target: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))] = 0.5,
    score: Literal["csls", "cosine"] = "csls",
    neighbours: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 5,
    wrong: float | None = None,
    engine: EngineName = "local",
    address: EngineAddress = None,
    workers: Workers = WORKERS,
    common: Common = Common(),
) -> None:
    """Find the texts that do not belong to their image, and write a source without them.

    A model scores every pair; its scores become probabilities by comparing given pairs with
    shuffled ones. Writes into --out: pairs.jsonl (every pair with score, probability and verdict),
    kept.jsonl (a source of the kept ones), filter.json (a report, and a calibration for diptych relate) and filter.png
    (distributions, ROC, precision).

    Examples:
        diptych data filter crawled.csv --out filtered/
        diptych data filter crawled.csv --out filtered/ --criterion precision --target 0.98
        diptych data filter crawled.csv --calibration clean.jsonl --calibration-split val --out filtered/
        diptych data filter /shared/crawled.csv --out filtered/ --engine ray --address head.example:6379
        diptych train configs/heads.toml filtered/kept.jsonl

    Args:
        source: File or folder of pairs.
        out: Folder that the results are written into; made when it is not there.
        calibration: Pairs that are known to be right; without it, half of the source's records calibrate.
        calibration_split: Use only this split of --calibration.
        criterion: Keep pairs this likely to be right, or aim at equal errors, a precision or a recall.
        target: The probability, precision or recall asked for.
        score: Cosine, or cosine against the neighbourhood of both sides (CSLS).
        neighbours: Nearest neighbours of either side that CSLS averages over.
        wrong: Share of wrong pairs in the source, if known; estimated when left out.
    """
    need("matplotlib", "diptych data filter")
    check_engine(engine, address, "diptych data filter")
    from diptych.data.seen import trained_among
    from diptych.inspection.filtering import FilterSettings, filter_pairs, write_filtered
    from diptych.models import load

    check_folder(out, "--out")
    settings = FilterSettings(score, neighbours, criterion, target, wrong, seed=common.seed or 0)
    encoder = load(model, device=common.device)
    opened = open_source(source, options)
    pairs = list(opened)
    trained_among(opened, pairs, learners([encoder])[0], "it takes their texts for right more readily than other ones")
    clean = open_source(calibration, SourceOptions(split=calibration_split)) if calibration else None
    known = [] if clean is None else list(clean)
    opened.notes.extend(encoder.cut_texts([text.value for pair in pairs for text in pair.texts]))
    fitted_on = opened.name if clean is None else clean.name
    with opened_engine(engine, address, common.device) as elsewhere:
        result = filter_pairs(
            encoder,
            pairs,
            known,
            settings,
            name=fitted_on,
            progress=common.progress(),
            engine=elsewhere,
            workers=workers,
        )
    files = write_filtered(result, pairs, out, f"{opened.name}, scored by {encoder.name}")
    recall, fallout, precision = result.expected
    found = result.to_json() | {"files": {name: str(path) for name, path in files.items()}}
    lines = [
        f"{int(result.kept.sum()):,} of {len(result.kept):,} pairs kept, {int((~result.kept).sum()):,} dropped "
        f"(score below {result.threshold:.3f}, {criterion}{'' if criterion == 'equal-error' else f' {target}'})",
        f"wrong pairs in the source: {100 * (1 - result.calibration.prior):.1f} % "
        f"({'estimated' if wrong is None else 'as told'})",
        f"expected: {100 * recall:.1f} % of the right pairs kept, {100 * (1 - fallout):.1f} % of the wrong ones "
        f"dropped, {100 * precision:.1f} % of the kept are right; AUC {result.quality.auc:.3f}",
    ]
    if result.skipped:
        lines.append(f"{len(result.skipped):,} images left out as unreadable, the first: {result.skipped[0].name}")
    if without := sum(not pair.texts for pair in pairs):
        lines.append(f"left out as without a text: {without:,} of the records")
    lines += [str(path) for path in files.values()]
    common.show(found, "\n".join(lines), opened.notes)
