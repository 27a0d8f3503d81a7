"""The evaluation report: versioned JSON with every number, and Markdown to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from diptych.core.markdown import cell, table
from diptych.core.notes import Note, notes_json
from diptych.core.types import Skipped
from diptych.core.version import __version__

from .bootstrap import LEVEL
from .classification import DIRECTION
from .direction import Direction, Estimate, Spread
from .evaluate import Evaluation, LanguageScores
from .judged import DOCUMENT_TO_QUERY, LABEL, QUERY_TO_DOCUMENT, JudgedEvaluation
from .metrics import Metric, metric_table
from .saved import FORMAT, ranks_json
from .within import WithinEvaluation

FORMAT_VERSION = 1
BOTH = {"image_to_text": "image → text", "text_to_image": "text → image"}
ARROWS = {
    **BOTH,
    "text_to_text": "text → text",
    "image_to_image": "image → image",
    QUERY_TO_DOCUMENT: "query → document",
    DOCUMENT_TO_QUERY: "document → query",
    DIRECTION: "image → class",
}
UNITS = {
    "R@k, P@k, share@k, NDCG@k, mAP, MRR": "0 to 1",
    "medR, meanR": "place of the best relevant item, 1 is first",
    "rsum": "percent: R@1 + R@5 + R@10 of both directions, at most 600",
    "low, high": f"{LEVEL:.0%} percentile interval of a bootstrap over records (images with all their texts)",
    "deviation": "standard deviation over the protocol's draws",
    "ties": "an irrelevant item that ties with a relevant one ranks before it",
}
RELEVANCE = {
    "pair": "Texts of one record are relevant to each other; a query is left out of its own ranking.",
    "group": "Items of one class are relevant to each other; a query is left out of its own ranking.",
    "view": "The queries are crops or flips of the images; each one's own whole image is relevant.",
    LABEL: "A document is relevant to a query by its label; NDCG takes all labels above 0 as gains.",
}
NAMED_SKIPPED = 20  # skipped inputs listed in the Markdown; the JSON lists them all


AnyEvaluation = Evaluation | WithinEvaluation | JudgedEvaluation


@dataclass(frozen=True)
class Report:
    """An evaluation and what it was made of."""

    evaluation: AnyEvaluation
    model: str
    model_fingerprint: str
    source: str
    split: str | None = None
    languages_asked: tuple[str, ...] = ()  # only texts in these were used; () means all
    skipped: tuple[Skipped, ...] = ()
    skipped_texts: int = 0  # texts left out along with unreadable images
    pairs_without_texts: int = 0  # left out before they were embedded
    notes: tuple[Note, ...] = ()  # on how the source was read
    content: str = ""  # fingerprint of the ids and texts that were measured; two reports with the same can be paired

    @property
    def records_without_texts(self) -> int:
        """Records left out because they have no text."""
        return self.evaluation.records_without_texts + self.pairs_without_texts

    @property
    def image_to_text(self) -> dict[str, float]:
        """Texts found by images: metric -> value, as in `UNITS`; empty where this was not measured."""
        return self.metrics("image_to_text")

    @property
    def text_to_image(self) -> dict[str, float]:
        """Images found by texts, likewise."""
        return self.metrics("text_to_image")

    @property
    def rsum(self) -> float | None:
        """R@1 + R@5 + R@10 of both directions in percent; None where a cut was left out."""
        return self.evaluation.rsum.value if self.evaluation.rsum else None

    @property
    def correlations(self) -> dict[str, float]:
        """Spearman's and Pearson's correlation of scores with labels, times 100; empty without labels that differ."""
        return {name: estimate.value for name, estimate in _correlations(self.evaluation).items()}

    def metrics(self, direction: str) -> dict[str, float]:
        """Metric -> value, as in `UNITS`, of a direction such as "text_to_text" or "query_to_document"; else empty."""
        found = self.evaluation.directions.get(direction)
        return {name: estimate.value for name, estimate in found.metrics.items()} if found else {}

    def to_json(self, *, ranks: bool = False) -> dict[str, Any]:
        """Everything, JSON-ready; with `ranks`, also where every query's relevant items landed, for `compare`."""
        evaluation = self.evaluation
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "diptych": __version__,
            "model": {"name": self.model, "fingerprint": self.model_fingerprint},
            "modality": evaluation.modality,
            "source": self.source,
            "split": self.split,
            "languages_asked": list(self.languages_asked) or None,
            "protocol": {
                "name": evaluation.protocol.name,
                "description": _description(evaluation),
                "draws": evaluation.draws,
                "seed": evaluation.seed,
                "relevance": evaluation.relevance,
                **({"relevant_from": evaluation.relevant_from} if isinstance(evaluation, JudgedEvaluation) else {}),
            },
            "bootstrap": {"resamples": evaluation.resamples, "level": LEVEL, "unit": "record"}
            if evaluation.resamples
            else None,
            "units": UNITS,
            "records": evaluation.records,
            "images": evaluation.images,
            "texts": evaluation.texts,
            **{name: _direction_json(side) for name, side in evaluation.directions.items()},
            "rsum": estimate_json(evaluation.rsum) if evaluation.rsum else None,
            **({"correlations": _correlations_json(evaluation)} if isinstance(evaluation, JudgedEvaluation) else {}),
            "languages": [_language_json(row) for row in evaluation.languages],
            "left_out": {
                "records_without_texts": self.records_without_texts,
                "texts_of_skipped_images": self.skipped_texts,
                "skipped": [asdict(one) for one in self.skipped],
                "items_with_nothing_to_find": evaluation.alone,
            },
            "notes": notes_json(self.notes),
            "content": self.content or None,
            **({"ranks": _ranks(evaluation)} if ranks else {}),
        }

    def table(self) -> str:
        """A Markdown page: the protocol in words, a table of both directions, one of languages, what was left out."""
        parts = [
            f"# Retrieval: {cell(self.model)} on {cell(self.source)}",
            _facts(self),
            _scores_table(self.evaluation),
            _notes(self.evaluation),
            *([_languages_table(self.evaluation.languages)] if self.evaluation.languages else []),
            *([_left_out(self)] if self.skipped or self.records_without_texts else []),
            *([_reading(self.notes)] if self.notes else []),
        ]
        return "\n\n".join(parts) + "\n"

    __str__ = table


def _ranks(evaluation: AnyEvaluation) -> dict[str, Any]:
    labelled = evaluation.labelled if isinstance(evaluation, JudgedEvaluation) else None
    return ranks_json(evaluation.directions, evaluation.units, labelled)


def _correlations(evaluation: AnyEvaluation) -> Mapping[str, Estimate]:
    return evaluation.correlations if isinstance(evaluation, JudgedEvaluation) else {}


def _correlations_json(evaluation: JudgedEvaluation) -> dict[str, Any]:
    measured = {name: estimate_json(estimate) for name, estimate in evaluation.correlations.items()}
    return {"labelled_pairs": len(evaluation.labelled.labels), **measured}


def _direction_json(side: Direction) -> dict[str, Any]:
    return {
        "gallery": asdict(side.gallery),
        "queries": asdict(side.queries),
        "positives_per_query": asdict(side.positives),
        "metrics": {name: estimate_json(estimate) for name, estimate in side.metrics.items()},
    }


def estimate_json(estimate: Estimate) -> dict[str, float]:
    """JSON-ready; what was not measured is left out."""
    record = {"value": estimate.value}
    if estimate.interval is not None:
        record |= {"low": estimate.interval.low, "high": estimate.interval.high}
    if estimate.deviation is not None:
        record["deviation"] = estimate.deviation
    return record


def _language_json(row: LanguageScores) -> dict[str, Any]:
    return {
        "language": row.language,
        "records": row.records,
        "images": row.images,
        "texts": row.texts,
        "text_tower_made_for_it": row.made_for,
        **{name: _direction_json(side) for name, side in row.scores.directions.items()},
        "rsum": estimate_json(row.scores.rsum) if row.scores.rsum else None,
        "recall_at_10_percent_of_english": dict(row.percent_of_reference),
    }


def _facts(report: Report) -> str:
    evaluation = report.evaluation
    protocol = evaluation.protocol
    seed = f", seed {evaluation.seed}" if protocol.random else ""
    lines = [
        f"- Model: {cell(report.model)}"
        + (f" (fingerprint `{report.model_fingerprint}`)" if report.model_fingerprint else ""),
        f"- Split: {cell(report.split or 'everything')}"
        + (f"; only texts in {', '.join(report.languages_asked)}" if report.languages_asked else ""),
        f"- Protocol: **{protocol.name}** ({_description(evaluation)}{seed})",
        f"- Relevance: by {evaluation.relevance}{_relevant_from(evaluation)}",
    ]
    if evaluation.alone and isinstance(evaluation, JudgedEvaluation):
        lines.append(f"- {evaluation.alone:,} queries have no relevant document, and are not measured as queries")
    elif evaluation.alone:
        lines.append(
            f"- {evaluation.alone:,} items have no other relevant item: they are in the gallery, but no queries"
        )
    lines.append(f"- Records: {_contents(evaluation)}")
    for name, side in evaluation.directions.items():
        lines.append(
            f"- {ARROWS[name]}: {_spread(side.queries)} queries, gallery of {_spread(side.gallery)}, "
            f"{_spread(side.positives)} {'positive' if side.positives.max == 1 else 'positives'} a query"
        )
    return "\n".join(lines)


def _description(evaluation: AnyEvaluation) -> str:
    if isinstance(evaluation, JudgedEvaluation):
        return "every query against every document, and every document against every query"
    return evaluation.protocol.description


def _relevant_from(evaluation: AnyEvaluation) -> str:
    if not isinstance(evaluation, JudgedEvaluation):
        return ""
    if not len(evaluation.labelled.labels):
        return "; no pair has one: all pairs of the source are relevant"
    return f": {evaluation.relevant_from:g} or more" if evaluation.relevant_from > 0 else ": above 0"


def _contents(evaluation: AnyEvaluation) -> str:
    """Such as "175, with 294 images and 525 texts"."""
    counts = [(evaluation.images, "images"), (evaluation.texts, "texts")]
    if isinstance(evaluation, JudgedEvaluation):
        counts = [(evaluation.queries, "queries"), (evaluation.documents, "documents")]
    return f"{evaluation.records:,}, with {' and '.join(f'{count:,} {what}' for count, what in counts if count)}"


def _scores_table(evaluation: AnyEvaluation) -> str:
    sides = evaluation.directions.items()
    metrics = _metrics_of(evaluation)
    rows = [
        [_label(metric), *(printed(side.metrics[metric.name], metric.percent) for _, side in sides)]
        for metric in metrics
    ]
    if evaluation.rsum is not None:
        rows.append(["rsum (both)", printed(evaluation.rsum, percent=False), ""])
    for name, estimate in _correlations(evaluation).items():
        rows.append([f"{name.title()} x 100", printed(estimate, percent=False), ""])
    return table(["", *(ARROWS[name] for name, _ in sides)], rows)


def _notes(evaluation: AnyEvaluation) -> str:
    notes = ["R@k is the share of queries with a relevant item among the first k."]
    if _has_several(evaluation):
        notes.append("share@k is the share of a query's relevant items that are among the first k.")
    notes.append("Ties count against: an irrelevant item with the same score ranks first.")
    if not isinstance(evaluation, Evaluation):
        notes.append(RELEVANCE[evaluation.relevance])
    if isinstance(evaluation, JudgedEvaluation) and evaluation.correlations:
        pairs = len(evaluation.labelled.labels)
        notes.append(f"Spearman and Pearson are correlations of cosines with the labels of {pairs:,} pairs.")
    if evaluation.resamples:
        notes.append(
            f"In brackets: {LEVEL:.0%} interval, {evaluation.resamples:,} bootstrap resamples of records "
            "with all their images and texts; the gallery stays as it is."
        )
    if evaluation.draws > 1:
        notes.append(f"±: standard deviation over the {evaluation.draws} draws.")
    return " ".join(notes)


def _languages_table(languages: Sequence[LanguageScores]) -> str:
    header = ["language", "images", "texts", "rsum"]
    header += [f"{arrow} {what}" for arrow in BOTH.values() for what in ("R@1", "R@10", "% of English")]
    rows = []
    for row in languages:
        mark = " *" if row.made_for is False else ""
        cells = [f"{row.language or 'unknown'}{mark}", f"{row.images:,}", f"{row.texts:,}"]
        cells.append(f"{row.scores.rsum.value:.1f}" if row.scores.rsum else "")
        for name in BOTH:
            metrics = row.scores.directions[name].metrics
            relative = row.percent_of_reference[name]
            cells += [f"{100 * metrics[cut].value:.1f}" if cut in metrics else "" for cut in ("R@1", "R@10")]
            cells.append("" if relative is None else f"{relative:.0f}")
        rows.append(cells)
    text = (
        "## Languages\n\nEach language's texts against all images that have texts in it, in one gallery "
        f"(protocol full).\n\n{table(header, rows)}"
    )
    if len({(row.images, row.texts) for row in languages}) > 1:
        text += (
            "\n\nThe languages differ in images or in texts. A smaller gallery, or more positives "
            "a query, is an easier task, so compare across rows with care."
        )
    if any(row.made_for is False for row in languages):
        text += "\n\n\\* The text tower was not made for this language."
    return text


def _left_out(report: Report) -> str:
    lines = ["## Left out", ""]
    if report.records_without_texts:
        lines.append(f"- {report.records_without_texts:,} records without texts")
    if report.skipped:
        lines.append(f"- {len(report.skipped):,} unusable inputs, and {report.skipped_texts:,} texts of theirs:")
        lines += [
            f"  - {cell(one.name)}: {one.reason}" + (f" ({cell(one.detail)})" if one.detail else "")
            for one in report.skipped[:NAMED_SKIPPED]
        ]
        if len(report.skipped) > NAMED_SKIPPED:
            lines.append(f"  - and {len(report.skipped) - NAMED_SKIPPED:,} more, all in the JSON report")
    return "\n".join(lines)


def _reading(notes: Sequence[Note]) -> str:
    return "\n".join(["## How the source was read", "", *(f"- {cell(note.to_text())}" for note in notes)])


def _metrics_of(evaluation: AnyEvaluation) -> list[Metric]:
    names = next(iter(evaluation.directions.values())).metrics
    cuts = [int(name.partition("@")[2]) for name in names if name.startswith("R@")]
    found = [metric for metric in metric_table(cuts).values() if metric.name in names]
    return [metric for metric in found if _has_several(evaluation) or not metric.name.startswith("share@")]


def _has_several(evaluation: AnyEvaluation) -> bool:
    """Whether some query has several relevant items; else the share that is found is R@k."""
    return any(side.positives.max > 1 for side in evaluation.directions.values())


def _label(metric: Metric) -> str:
    better = " (lower is better)" if metric.lower_is_better else ""
    return f"{metric.name}{' %' if metric.percent else ''}{better}"


def printed(estimate: Estimate, percent: bool) -> str:
    """Such as "71.2 ± 0.4 [68.0, 74.1]", times 100 with `percent`."""
    scale = 100 if percent else 1
    text = f"{scale * estimate.value:.1f}"
    if estimate.deviation is not None:
        text += f" ± {scale * estimate.deviation:.1f}"
    if estimate.interval is not None:
        text += f" [{scale * estimate.interval.low:.1f}, {scale * estimate.interval.high:.1f}]"
    return text


def _spread(spread: Spread) -> str:
    if spread.min == spread.max:
        return f"{spread.min:,}"
    return f"{spread.min:,} to {spread.max:,} (mean {spread.mean:,.1f})"
