"""Retrieval within one modality: texts by texts, images by images, by the same exact ranks.

Captions of one image are relevant to each other, and images of one class; a query never finds
itself. With `Views`, other images of the same items (crops, flips) ask for the items instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64

from .direction import Direction, DrawRanking, Estimate, EvaluationFacts, estimates, unmeasured
from .evaluate import LanguageScores
from .metrics import CUTS
from .positives import Positives
from .protocols import Full, Protocol
from .ranks import Ranks, ranks_from_embeddings
from .reranking import Rescoring

TEXT_TO_TEXT, IMAGE_TO_IMAGE = "text_to_text", "image_to_image"


class Views(NamedTuple):
    """Queries that are views of the items (crops, flips): row i is a view of item `of[i]`."""

    vectors: Float32[np.ndarray, "q d"]
    of: Int64[np.ndarray, " q"]


@dataclass(frozen=True)
class Items:
    """A collection of one modality as vectors.

    Items with the same label are relevant to each other. `units[i]` is the record that item i
    belongs to, numbered from 0: what protocols draw and the bootstrap resamples.
    """

    vectors: Float32[np.ndarray, "m d"]
    labels: Int64[np.ndarray, " m"]
    units: Int64[np.ndarray, " m"]
    direction: str  # TEXT_TO_TEXT or IMAGE_TO_IMAGE
    relevance: str  # "pair", "group" or "view"
    views: Views | None = None

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.labels) == len(self.units):
            raise DataError(
                f"{len(self.vectors)} items, {len(self.labels)} labels, {len(self.units)} units; expected one each"
            )


@dataclass(frozen=True, kw_only=True)
class WithinEvaluation(EvaluationFacts):
    """Everything measured within one modality."""

    directions: Mapping[str, Direction]
    units: int  # records that own a query in any draw: what a bootstrap resamples

    @property
    def modality(self) -> str:
        """text-text or image-image."""
        return next(iter(self.directions)).replace("_to_", "-")

    # only retrieval across modalities has these; a report reads them of both
    rsum: ClassVar[Estimate | None] = None
    languages: ClassVar[tuple[LanguageScores, ...]] = ()


def evaluate_within(
    items: Items,
    protocol: Protocol | None = None,
    *,
    rescoring: Rescoring | None = None,
    cuts: Sequence[int] = CUTS,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> WithinEvaluation:
    """Rank the items by the items, each without itself (or by their views), and sum up.

    With `rescoring`, which takes the items' numbers, the best of each ranking are put in another order.

    Raises DataError when no item has another one that is relevant to it, and as `evaluate_embeddings`.
    """
    protocol = protocol or Full()
    if not len(items.vectors):
        raise DataError("nothing to evaluate: no readable item")
    draws = protocol.draws(np.arange(int(items.units.max()) + 1), items.units, seed)
    found = [_rank(items, draw.texts, protocol.name, rescoring, progress) for draw in draws]
    drawn = np.unique(np.concatenate([units for _, units, _ in found]))
    direction = unmeasured([DrawRanking(ranks, np.searchsorted(drawn, units)) for ranks, units, _ in found], cuts)
    measured = estimates(list(direction.numbers.values()), len(drawn), resamples, seed)
    metrics = dict(zip(direction.numbers, measured, strict=True))
    return WithinEvaluation(
        protocol=protocol,
        draws=len(draws),
        seed=seed,
        relevance=items.relevance,
        resamples=resamples,
        records=len(np.unique(items.units)),
        images=len(items.vectors) if items.direction == IMAGE_TO_IMAGE else 0,
        texts=len(items.vectors) if items.direction == TEXT_TO_TEXT else 0,
        alone=found[0][2],
        directions={items.direction: replace(direction, metrics=metrics)},
        units=len(drawn),
    )


def _rank(
    items: Items,
    chosen: Int64[np.ndarray, " c"],
    protocol: str,
    rescoring: Rescoring | None,
    progress: Progress,
) -> tuple[Ranks, Int64[np.ndarray, " q"], int]:
    """The ranks of one draw, the unit of each query, and how many items had nothing to find."""
    label = items.direction.replace("_to_", "→")
    gallery, labels, units = items.vectors[chosen], items.labels[chosen], items.units[chosen]
    if items.views is not None:
        place = np.full(len(items.vectors), -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        asked = place[items.views.of]
        here = asked >= 0
        positives = Positives.from_labels(labels[asked[here]], labels)
        ranks = ranks_from_embeddings(items.views.vectors[here], gallery, positives, progress=progress, label=label)
        return ranks, units[asked[here]], 0
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(sizes[inverse] > 1)
    if not len(queries):
        raise DataError(
            f"none of the {len(chosen):,} items of a draw has another one that is relevant to it, so there is "
            f"nothing to find (protocol {protocol}); give several of them one record (--group-column joins rows of "
            "texts only), or a class and --relevance group"
        )
    positives = Positives.among(labels, queries)
    rescore = rescoring.of(chosen[queries], chosen) if rescoring else None
    ranks = ranks_from_embeddings(
        gallery[queries], gallery, positives, itself=queries, rescore=rescore, progress=progress, label=label
    )
    return ranks, units[queries], len(chosen) - len(queries)
