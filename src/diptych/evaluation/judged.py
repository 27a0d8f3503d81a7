"""Documents found by queries, and queries by documents, with labels that say how related they are.

A label above 0 is a gain: NDCG counts it as it is, and metrics of yes and no take labels of `relevant_from` and more
(all above 0 by default) as relevant. Pairs without a label are not related. Where labels differ, the scores of the
labelled pairs are also correlated with them (Spearman and Pearson), as in semantic textual similarity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, Float32, Float64, Int64
from diptych.core.text import number

from .bootstrap import Addend, Number, Sample
from .direction import Direction, DrawRanking, Estimate, EvaluationFacts, estimates, recall_sum, unmeasured
from .evaluate import LanguageScores
from .metrics import CUTS
from .positives import Positives
from .protocols import Full, Protocol
from .ranks import ranks_from_embeddings
from .reranking import Rescoring

QUERY_TO_DOCUMENT, DOCUMENT_TO_QUERY = "query_to_document", "document_to_query"
LABEL = "label"  # how relevance is told


@dataclass(frozen=True)
class JudgedTexts:
    """Queries and documents as vectors, and who was judged: document `document_of[p]` for query `query_of[p]`.

    `labels` are 0 (unrelated) or more. Not every pair needs one to be judged: `is_labelled` says which have one.
    `units[i]` is the record of query i, numbered from 0: what the bootstrap resamples. `query_places` and
    `document_places` say where each stands among all texts, for whoever wants the texts themselves.
    """

    queries: Float32[np.ndarray, "q d"]
    documents: Float32[np.ndarray, "m d"]
    units: Int64[np.ndarray, " q"]
    query_of: Int64[np.ndarray, " p"]
    document_of: Int64[np.ndarray, " p"]
    labels: Float64[np.ndarray, " p"]
    is_labelled: Bool[np.ndarray, " p"]
    query_places: Int64[np.ndarray, " _"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    document_places: Int64[np.ndarray, " _"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.units) != len(self.queries):
            raise DataError(f"{len(self.queries)} queries but {len(self.units)} units; expected one each")
        if not len(self.query_of) == len(self.document_of) == len(self.labels) == len(self.is_labelled):
            raise DataError("query_of, document_of, labels and is_labelled have different lengths")


@dataclass(frozen=True)
class LabelledScores:
    """The score of each labelled pair, its label, and its record."""

    scores: Float64[np.ndarray, " p"]
    labels: Float64[np.ndarray, " p"]
    units: Int64[np.ndarray, " p"]

    @property
    def numbers(self) -> dict[str, Number]:
        """Spearman's and Pearson's correlation times 100; empty where the labels or the scores are all the same."""
        if min(len(np.unique(self.labels)), len(np.unique(self.scores))) < 2:
            return {}

        def number(*, by_rank: bool) -> Number:
            sample = Sample(self.scores, self.units, labels=self.labels, by_rank=by_rank)
            return Number((Addend((sample,)),), scale=100.0)

        return {"spearman": number(by_rank=True), "pearson": number(by_rank=False)}


@dataclass(frozen=True, kw_only=True)
class JudgedEvaluation(EvaluationFacts):
    """Everything measured between queries and documents."""

    directions: Mapping[str, Direction]
    rsum: Estimate | None
    units: int
    queries: int
    documents: int
    relevant_from: float  # the smallest label that counts as relevant; 0: all above 0
    labelled: LabelledScores = field(repr=False)
    correlations: Mapping[str, Estimate]  # "spearman", "pearson": times 100

    modality: ClassVar[str] = "text-text"
    languages: ClassVar[tuple[LanguageScores, ...]] = ()


def evaluate_judged(
    judged: JudgedTexts,
    protocol: Protocol | None = None,
    *,
    relevant_from: float = 0.0,
    rescoring: Rescoring | None = None,
    cuts: Sequence[int] = CUTS,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> JudgedEvaluation:
    """Rank all documents for each query, and all queries for each document, and sum up.

    With `rescoring`, which takes the numbers of queries and documents, the best of each ranking are put in another
    order, and its scores are what is correlated with the labels.

    A query without a document that is relevant, and a document without such a query, is in the gallery only, and
    counted. Raises ConfigError for another protocol than `full`, DataError where there is nothing to tell apart or
    nothing is relevant.
    """
    protocol = protocol or Full()
    if not isinstance(protocol, Full):
        raise ConfigError(
            f"queries and documents are measured all at once, by the protocol full; found {protocol.name}; leave it out"
        )
    if min(len(judged.queries), len(judged.documents)) < 2:
        raise DataError(
            f"found {len(judged.queries):,} {'query' if len(judged.queries) == 1 else 'queries'} and "
            f"{number(len(judged.documents), 'different document')}; there must be "
            "two or more of each, or nothing is told apart"
        )
    related = judged.labels > 0 if relevant_from <= 0 else judged.labels >= relevant_from
    if not related.any():
        highest = f"the highest label is {judged.labels.max():g}" if len(judged.labels) else "there is no label"
        raise DataError(
            f"no document is relevant to a query: {highest}, and relevant are labels "
            + (f"of {relevant_from:g} or more; choose with --relevant-from" if relevant_from > 0 else "above 0")
        )
    sides = (judged.query_of, judged.document_of)
    units_of_documents = _first_units(judged, related)
    both = (
        (QUERY_TO_DOCUMENT, judged.queries, judged.documents, sides, judged.units, rescoring),
        (
            DOCUMENT_TO_QUERY,
            judged.documents,
            judged.queries,
            sides[::-1],
            units_of_documents,
            rescoring.turned() if rescoring else None,
        ),
    )
    drawn = np.unique(judged.units[judged.query_of[related | judged.is_labelled]])
    directions: dict[str, Direction] = {}
    alone = 0
    for name, asks, found, (asking, answers), units, again in both:
        kept, positives = _positives(asking, answers, judged.labels, related, len(found))
        label = name.replace("_to_", "→")
        rescore = again.of(kept, np.arange(len(found))) if again else None
        ranks = ranks_from_embeddings(asks[kept], found, positives, rescore=rescore, progress=progress, label=label)
        ranks = replace(ranks, relevant_from=relevant_from)
        directions[name] = unmeasured([DrawRanking(ranks, np.searchsorted(drawn, units[kept]))], cuts)
        alone += len(asks) - len(kept) if name == QUERY_TO_DOCUMENT else 0
    labelled = _labelled(judged, drawn, rescoring)
    rsum = recall_sum(tuple(side.numbers for side in directions.values()))
    named = {f"{name} {metric}": one for name, side in directions.items() for metric, one in side.numbers.items()}
    named |= {"rsum": rsum} if rsum else {}
    named |= labelled.numbers
    measured = dict(zip(named, estimates(list(named.values()), len(drawn), resamples, seed), strict=True))
    return JudgedEvaluation(
        protocol=protocol,
        draws=1,
        seed=seed,
        relevance=LABEL,
        resamples=resamples,
        records=len(np.unique(judged.units)),
        images=0,
        texts=len(judged.queries) + len(judged.documents),
        alone=alone,
        directions={
            name: replace(side, metrics={metric: measured[f"{name} {metric}"] for metric in side.numbers})
            for name, side in directions.items()
        },
        rsum=measured.get("rsum"),
        units=len(drawn),
        queries=len(judged.queries),
        documents=len(judged.documents),
        relevant_from=relevant_from,
        labelled=labelled,
        correlations={name: measured[name] for name in labelled.numbers},
    )


def _first_units(judged: JudgedTexts, related: Bool[np.ndarray, " p"]) -> Int64[np.ndarray, " m"]:
    """A record for each document: the first one that it is related to; 0 for those of none."""
    units = np.zeros(len(judged.documents), dtype=np.int64)
    places = np.flatnonzero(related)[::-1]
    units[judged.document_of[places]] = judged.units[judged.query_of[places]]
    return units


def _positives(
    asking: Int64[np.ndarray, " p"],
    answers: Int64[np.ndarray, " p"],
    labels: Float64[np.ndarray, " p"],
    related: Bool[np.ndarray, " p"],
    gallery: int,
) -> tuple[Int64[np.ndarray, " q"], Positives]:
    """Those who ask and have something relevant to find, and all that has a label above 0 for each of them."""
    kept = np.unique(asking[related])
    chosen = np.flatnonzero((labels > 0) & np.isin(asking, kept))
    chosen = chosen[np.lexsort((answers[chosen], asking[chosen]))]
    counts = np.bincount(np.searchsorted(kept, asking[chosen]), minlength=len(kept))
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return kept, Positives(offsets, answers[chosen], labels[chosen], gallery)


def _labelled(judged: JudgedTexts, drawn: Int64[np.ndarray, " u"], rescoring: Rescoring | None) -> LabelledScores:
    chosen = np.flatnonzero(judged.is_labelled)
    queries, documents = judged.queries[judged.query_of[chosen]], judged.documents[judged.document_of[chosen]]
    scores = np.einsum("pd,pd->p", queries, documents, dtype=np.float64)
    if rescoring is not None and len(chosen):
        scores = rescoring.beta * scores + rescoring.score(judged.query_of[chosen], judged.document_of[chosen])
    units = np.searchsorted(drawn, judged.units[judged.query_of[chosen]])
    return LabelledScores(scores, judged.labels[chosen], units.astype(np.int64))
