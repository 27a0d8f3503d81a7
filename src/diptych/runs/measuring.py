"""Measuring models from Python: `evaluate` one, or embeddings made elsewhere; `compare` several on the same queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych import evaluation
from diptych.core.checks import PATH, kind_of, of_type, several
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, Progress
from diptych.data.readers import Source, SourceOptions
from diptych.data.seen import learner_of, untrained
from diptych.evaluation.compare import Comparison, compare_reports
from diptych.inspection.measure import Measured, Task, measure
from diptych.inspection.text_reranking import TextReranker
from diptych.models import DualEncoder, load
from diptych.models.text_cross_encoder import TextCrossEncoder

from .reading import ANY_SOURCE, AnySource, open_any

# a model, a report that was saved with its ranks, or "name=MODEL" and "name=REPORT.json" to give one a name of its own
Compared = DualEncoder | evaluation.Report | str | Path


def evaluate(
    model: DualEncoder | str | Path | None = None,
    source: AnySource | None = None,
    *,
    split: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    images: Any = None,
    texts: Any = None,
    owner: Any = None,
    image_owner: Any = None,
    similarity: str = "cosine",
    name: str = "embeddings",
    reranker: TextReranker | None = None,
    progress: Progress = SILENT,
    **task: Any,
) -> evaluation.Report:
    """Measure retrieval in both directions: of a model on a source, or of embeddings that were made elsewhere.

        report = diptych.evaluate("base", "flickr8k/", split="val")
        report.text_to_image["R@10"], report.rsum, print(report)

        report = diptych.evaluate(images=image_vectors, texts=text_vectors, owner=image_of_each_text)

    Args:
        model: a model, its name or its folder.
        source: the pairs. Without a split, the records that the model's training held out, where it names them.
        split: of the source.
        options: how to read a source that is a path.
        images: (n, d) embeddings of any length, in place of model and source.
        texts: (m, d) embeddings.
        owner: (m) the record of each text; left out where text i is of image i.
        image_owner: (n) the record of each image; left out where image i is record i.
        similarity: that the embeddings are compared by.
        name: of the embeddings, in the report.
        reranker: puts texts that are found by texts in another order; `diptych.runs.text_reranking` makes one.
        progress: told about embedding and ranking.
        task: what else is asked, as of `diptych.inspection.measure.Task`: modality, protocol, relevance, languages,
            views, cuts, resamples, seed.

    Raises ConfigError for neither or both ways, DataError where there is nothing to measure.
    """
    arrays = images is not None and texts is not None
    wanted = Task(**task)
    if arrays and model is None and source is None:
        return _of_arrays(images, texts, owner, image_owner, similarity, name, wanted, progress)
    if arrays or model is None or source is None:
        raise ConfigError("evaluate takes a model and a source, or images= and texts= embeddings; give one of the two")
    return measure_model(
        model, source, wanted, split=split, options=options, reranker=reranker, progress=progress
    ).report


def measure_model(
    model: DualEncoder | str | Path,
    source: AnySource,
    task: Task,
    *,
    split: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    reranker: TextReranker | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """As `evaluate`, with the vectors of each direction, for whoever wants to show what is found."""
    encoder = as_encoder(model)
    learners: list[DualEncoder | TextCrossEncoder] = [encoder, *([reranker.cross_encoder] if reranker else [])]
    opened = open_untrained(learners, source, split=split, options=options, progress=progress)
    return measure(encoder, opened, task, reranker=reranker, progress=progress)


def open_untrained(
    encoders: Iterable[DualEncoder | TextCrossEncoder],
    source: AnySource,
    *,
    split: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    progress: Progress = SILENT,
) -> Source:
    """The records to measure all these models on: see `diptych.data.seen.untrained`."""
    opened = open_any(source, dataclasses.replace(options, split=split or options.split))
    return untrained(opened, [_learner(encoder) for encoder in encoders], progress=progress)


def compare(
    models: Sequence[Compared],
    source: AnySource | None = None,
    *,
    split: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    baseline: str = "first",
    resamples: int = 2000,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
    **task: Any,
) -> Comparison:
    """Several models in one table, with a paired bootstrap test of each against one of them.

        print(diptych.compare(["base", "runs/mine"], "flickr8k/", split="val").table())

    Args:
        models: models, their names or folders (of a run too), or reports with their ranks, as `diptych eval --out`
            writes them; "NAME=MODEL" gives one a name of its own.
        source: the pairs that models are measured on. Without a split, the records that their trainings held out.
        split: of the source.
        options: how to read a source that is a path.
        baseline: "first", "best" (by rsum), or the name of one of them.
        resamples: of the bootstrap.
        seed: of the protocol's draws and of the bootstrap.
        device: where models that are given by name or folder run, as in `diptych.load`.
        progress: told about embedding and ranking.
        task: as of `evaluate`.

    Raises ConfigError for fewer than two, DataError for reports of different queries.
    """
    models = several(models, (DualEncoder, evaluation.Report, *PATH), "models or reports to compare")
    if len(models) < 2:
        raise ConfigError(f"found {len(models)} models; expected two or more models or reports to compare")
    wanted = Task(**{"resamples": 0, "seed": seed, **task})
    by_name = [named(each) for each in models]
    encoders = {place: as_encoder(each, device) for place, (_, each) in enumerate(by_name) if not _is_report(each)}
    opened: Source | None = None
    if encoders:
        if source is None:
            each = by_name[min(encoders)][1]
            raise ConfigError(f"{each} is no report file; to measure it as a model, give a source of pairs")
        opened = open_untrained(encoders.values(), source, split=split, options=options, progress=progress)
    reports = []
    for place, (name, each) in enumerate(by_name):
        if opened is not None and place in encoders:
            report = measure(encoders[place], opened, wanted, progress=progress).report
            reports.append(evaluation.parse_report(report.to_json(ranks=True), name or report.model, str(each)))
        elif isinstance(each, evaluation.Report):
            reports.append(evaluation.parse_report(each.to_json(ranks=True), name or each.model, each.model))
        else:
            reports.append(evaluation.read_report(Path(str(each)).expanduser(), name))
    names = distinct([report.name for report in reports])
    reports = [dataclasses.replace(report, name=name) for report, name in zip(reports, names, strict=True)]
    found = compare_reports(reports, baseline=baseline, resamples=resamples, seed=seed)
    return dataclasses.replace(found, notes=tuple(opened.notes) if opened is not None else ())


def _of_arrays(
    images: Any,
    texts: Any,
    owner: Any,
    image_owner: Any,
    similarity: str,
    name: str,
    task: Task,
    progress: Progress,
) -> evaluation.Report:
    images, texts = _numbers("images", images, np.float32), _numbers("texts", texts, np.float32)
    if owner is None and len(images) != len(texts):
        raise ConfigError(f"{len(texts)} texts of {len(images)} images: say by owner= which image each text is of")
    if similarity == "cosine":
        images, texts = normalise(images), normalise(texts)
    embeddings = evaluation.Embeddings(
        images,
        texts,
        np.arange(len(texts)) if owner is None else _numbers("owner", owner, np.int64),
        image_owner=None if image_owner is None else _numbers("image_owner", image_owner, np.int64),
    )
    found = evaluation.evaluate_embeddings(embeddings, **task.rules, similarity=similarity, progress=progress)
    return evaluation.Report(found, model=name, model_fingerprint="", source="arrays")


def _numbers(name: str, values: Any, kind: type[np.generic]) -> np.ndarray[Any, Any]:
    """An array of embeddings (float32, two axes) or of record numbers (int64). Raises DataError for other values."""
    try:
        found = np.asarray(values)
        made = found.astype(kind)
        fits = made.ndim == (2 if kind is np.float32 else 1) and (kind is np.float32 or bool((made == found).all()))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        wanted = "an (n, d) array of embeddings" if kind is np.float32 else "a list of whole numbers"
        raise DataError(f"{name}={kind_of(values)} is not {wanted}")
    return made


def as_encoder(model: Any, device: str = "auto") -> DualEncoder:
    """A model as it is, or the one of a name or folder, which may be the folder of its run."""
    if isinstance(model, DualEncoder):
        return model
    of_type(model, PATH, "a model, its name, or its folder")
    folder = Path(model).expanduser() / "model"
    return load(folder if folder.is_dir() else model, device=device)


def _learner(encoder: DualEncoder | TextCrossEncoder) -> Any:
    return learner_of(encoder.name, encoder.folder, encoder.config.training)


def named(each: Compared) -> tuple[str, Compared]:
    """A name of its own, if it was given one, and what it is."""
    if isinstance(each, str) and "=" in each and not Path(each).exists():
        name, _, rest = each.partition("=")
        return name, rest
    return "", each


def _is_report(each: Compared) -> bool:
    """Whether it is a report. Raises ConfigError for the name of a report that is not there."""
    if isinstance(each, DualEncoder | evaluation.Report):
        return isinstance(each, evaluation.Report)
    path = Path(each).expanduser()
    if path.suffix == ".json" and not path.is_file():
        raise ConfigError(f"no report {each}: there is no such file; expected what diptych eval --out wrote")
    return path.is_file()


def distinct(names: Sequence[str]) -> list[str]:
    """Names of which several are the same, numbered, so that each has a row."""
    counts = [(name, names[:place].count(name) + 1) for place, name in enumerate(names)]
    return [f"{name} #{count}" if names.count(name) > 1 else name for name, count in counts]
