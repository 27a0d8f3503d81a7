"""Embeddings in, numbers out: retrieval in both directions by a protocol, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Int64
from diptych.core.similarity import Similarity, similarity_of

from .bootstrap import Number
from .direction import Direction, DrawRanking, Estimate, EvaluationFacts, estimates, recall_sum, unmeasured
from .embeddings import Embeddings
from .metrics import CUTS
from .positives import Positives
from .protocols import Draw, Full, Protocol
from .ranks import ranks_from_embeddings

REFERENCE_LANGUAGE = "en"


@dataclass(frozen=True)
class Scores:
    """Both directions and rsum (None when a cut of R@1, R@5 or R@10 was left out)."""

    image_to_text: Direction
    text_to_image: Direction
    rsum: Estimate | None
    rsum_number: Number | None = field(repr=False)
    units: int  # records in any draw: what a bootstrap resamples

    @property
    def directions(self) -> Mapping[str, Direction]:
        """What was ranked against what."""
        return {"image_to_text": self.image_to_text, "text_to_image": self.text_to_image}


@dataclass(frozen=True)
class LanguageScores:
    """One language's texts against the images of the records that have such texts, everything at once."""

    language: str | None
    records: int
    images: int
    texts: int
    scores: Scores
    made_for: bool | None  # whether the text tower was made for it; None when it does not say
    percent_of_reference: Mapping[str, float | None]  # R@10 as % of English's, by direction


@dataclass(frozen=True, kw_only=True)
class Evaluation(EvaluationFacts):
    """Everything measured in both directions."""

    scores: Scores
    languages: tuple[LanguageScores, ...]

    modality = "image-text"

    @property
    def directions(self) -> Mapping[str, Direction]:
        """What was ranked against what."""
        return self.scores.directions

    @property
    def rsum(self) -> Estimate | None:
        """R@1 + R@5 + R@10 of both directions, in percent."""
        return self.scores.rsum

    @property
    def units(self) -> int:
        """Records in any draw."""
        return self.scores.units


def evaluate_embeddings(
    embedded: Embeddings,
    protocol: Protocol | None = None,
    *,
    cuts: Sequence[int] = CUTS,
    resamples: int = 1000,
    seed: int = 0,
    made_for: frozenset[str] = frozenset(),
    similarity: str = "cosine",
    progress: Progress = SILENT,
) -> Evaluation:
    """Rank both ways by the protocol (default: everything at once) and sum up.

    Images of records without a text are left out, and counted. Where the texts are in several languages each
    language is also measured alone, always on all of its images at once. `made_for` are the
    languages of the text tower, empty when unknown. `similarity` is the one that the model was trained for.

    Raises DataError for vectors that cannot be ranked and for too few images.
    """
    protocol = protocol or Full()
    if not len(embedded.texts):
        raise DataError("nothing to evaluate: no texts that belong to a readable image")
    pool = embedded.only(np.ones(len(embedded.texts), dtype=np.bool_))
    settings = _Settings(tuple(cuts), resamples, seed, similarity, progress)
    draws = protocol.draws(pool.record_of_image, pool.owner, seed)
    return Evaluation(
        protocol=protocol,
        draws=len(draws),
        seed=seed,
        relevance="pair" if pool.groups is None else "group",
        resamples=resamples,
        records=pool.records,
        images=len(pool.images),
        texts=len(pool.texts),
        records_without_texts=embedded.records - pool.records,
        scores=_score(pool, draws, settings),
        languages=_by_language(pool, made_for, settings),
    )


@dataclass(frozen=True)
class _Settings:
    cuts: tuple[int, ...]
    resamples: int
    seed: int
    similarity: str
    progress: Progress

    def ranks_by(self, *, from_images: bool) -> Similarity | None:
        """What ranks items for queries; None is the inner product."""
        if self.similarity == "cosine":
            return None
        measure = similarity_of(self.similarity)
        return measure if from_images else lambda texts, images: measure(images, texts).T


def _score(pool: Embeddings, draws: Sequence[Draw], settings: _Settings) -> Scores:
    drawn = np.unique(np.concatenate([pool.record_of_image[draw.images] for draw in draws]))
    to_text = _direction(pool, draws, drawn, settings, from_images=True)
    to_image = _direction(pool, draws, drawn, settings, from_images=False)
    rsum = recall_sum((to_text.numbers, to_image.numbers))
    numbers = [*to_text.numbers.values(), *to_image.numbers.values(), *([rsum] if rsum else [])]
    found = estimates(numbers, len(drawn), settings.resamples, settings.seed)
    of_text = dict(zip(to_text.numbers, found, strict=False))
    of_image = dict(zip(to_image.numbers, found[len(of_text) :], strict=False))
    return Scores(
        replace(to_text, metrics=of_text),
        replace(to_image, metrics=of_image),
        found[-1] if rsum else None,
        rsum,
        len(drawn),
    )


def _direction(
    pool: Embeddings,
    draws: Sequence[Draw],
    drawn: Int64[np.ndarray, " u"],
    settings: _Settings,
    *,
    from_images: bool,
) -> Direction:
    """Rank every draw one way; the metrics' estimates are filled in later, all in one bootstrap."""
    label = "image→text" if from_images else "text→image"
    rankings = []
    for draw in draws:
        record, owner = pool.record_of_image[draw.images], pool.owner[draw.texts]
        image_side = (pool.images[draw.images], pool.labels[record], record)
        text_side = (pool.texts[draw.texts], pool.labels[owner], owner)
        query, item = (image_side, text_side) if from_images else (text_side, image_side)
        positives = Positives.from_labels(query[1], item[1])
        ranks = ranks_from_embeddings(
            query[0],
            item[0],
            positives,
            similarity=settings.ranks_by(from_images=from_images),
            progress=settings.progress,
            label=label,
        )
        rankings.append(DrawRanking(ranks, np.searchsorted(drawn, query[2])))
    return unmeasured(rankings, settings.cuts)


def _by_language(pool: Embeddings, made_for: frozenset[str], settings: _Settings) -> tuple[LanguageScores, ...]:
    """A row for each language when there are several; the reference language first, then by name."""
    found = sorted(set(pool.languages), key=lambda name: (name != REFERENCE_LANGUAGE, name is None, name or ""))
    if len(found) < 2:
        return ()
    spoken = np.array(pool.languages, dtype=object)
    parts = {language: pool.only(spoken == language) for language in found}
    scores = {
        language: _score(part, Full().draws(part.record_of_image, part.owner, settings.seed), settings)
        for language, part in parts.items()
    }
    reference = scores.get(REFERENCE_LANGUAGE)
    return tuple(
        LanguageScores(
            language=language,
            records=parts[language].records,
            images=len(parts[language].images),
            texts=len(parts[language].texts),
            scores=scores[language],
            made_for=language in made_for if made_for and language is not None else None,
            percent_of_reference=_percent_of(scores[language], reference),
        )
        for language in found
    )


def _percent_of(scores: Scores, reference: Scores | None) -> dict[str, float | None]:
    """R@10 as % of the reference language's, by direction; None where there is nothing to divide by."""
    found: dict[str, float | None] = {}
    for name, side in scores.directions.items():
        other = reference.directions[name].metrics.get("R@10") if reference else None
        found[name] = 100.0 * side.metrics["R@10"].value / other.value if other and other.value else None
    return found
