"""Fitting a dual encoder and a cross-encoder to each other, and putting a re-ranker together from the two."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, Float16, Float32, Float64, Int64
from diptych.core.similarity import of_cosines
from diptych.core.types import Pair, Skipped
from diptych.data.images import as_ref
from diptych.data.pair_list import IMAGE_TEXT
from diptych.data.seen import text_mark
from diptych.data.splits import held_out_of
from diptych.evaluation import Positives, ranks_from_scores
from diptych.evaluation.metrics import recall_at
from diptych.evaluation.pair_calibration import fit_pairs
from diptych.evaluation.reliability import Bin, calibration_error, fit_logistic, reliability
from diptych.evaluation.reranking import reranked_scores, top
from diptych.inspection.relating import Calibrations, CrossScorer
from diptych.inspection.relating.cross_scoring import cross_scores
from diptych.inspection.relating.fitting import drawn_pairs
from diptych.library.relevance import Relevance, hit_features, query_features
from diptych.library.reranker import Reranker
from diptych.models import DualEncoder, as_model, lasting_name, require_cosine
from diptych.models.cross_encoder import IMAGE_TO_TEXT, TEXT_TO_IMAGE, CrossEncoder, TrainedCrossEncoder
from diptych.models.cross_encoder.pair import PairSettings, read_pair, write_pair
from diptych.models.embed import EmbeddedPairs, embed_pairs

BETAS = (0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 200.0, 400.0)
DEPTHS = (20, 50, 100)
_WITHIN = 0.25  # R@1 in percent: fewer candidates are taken when they lose no more than this


def reranker(
    dual_encoder: DualEncoder | str,
    cross_encoder: CrossEncoder,
    *,
    beta: float | None = None,
    k: int | None = None,
    named: str = "base",
) -> Reranker:
    """The re-ranker of a dual encoder (or its fingerprint) and a cross-encoder, as `fit_reranker` left it.

    A `beta` of one's own needs no fitting; a pretrained cross-encoder always needs one. Raises ModelError when
    nothing was fitted for the two, with the command that does it for the dual encoder that is `named` so.
    """
    fingerprint = dual_encoder if isinstance(dual_encoder, str) else dual_encoder.fingerprint
    if beta is not None:
        return Reranker(fingerprint, cross_encoder, beta, k or 50)
    if not isinstance(cross_encoder, TrainedCrossEncoder):
        raise ModelError(
            f"nothing is fitted for the pretrained cross-encoder {cross_encoder.name!r}; give the weight of the cosine "
            "as beta, or --beta"
        )
    pair = read_pair(cross_encoder.folder, fingerprint, cross_encoder.fingerprint, named)
    relevance = Relevance.from_json(pair.calibration)
    single = Calibrations.from_json(pair.relate) if pair.relate else None
    return Reranker(
        fingerprint,
        cross_encoder,
        pair.beta,
        k or pair.k,
        relevance=relevance,
        prior=cross_encoder.scorer,
        single=single,
    )


@dataclass(frozen=True)
class Scored:
    """One direction of held-out pairs: cosines of everything, and h of each query's best candidates."""

    cosines: Float32[np.ndarray, "q m"]
    candidates: Int64[np.ndarray, "q c"]
    scores: Float32[np.ndarray, "q c"]  # of the cross-encoder
    positives: Positives
    words: tuple[str, ...] = ()  # of the queries, where they are texts

    def recall(self, beta: float, k: int, at: int = 1) -> float:
        """R@at in percent after re-ranking the first k by h + beta * cosine."""
        combined = reranked_scores(self.cosines, self.candidates, self.scores, beta, k)
        return 100 * float(recall_at(ranks_from_scores(combined, self.positives), at).mean())

    def dual_encoder_recall(self, at: int = 1) -> float:
        """R@at in percent of the dual encoder alone."""
        return 100 * float(recall_at(ranks_from_scores(self.cosines, self.positives), at).mean())

    def best_beta(self, k: int) -> float:
        """The beta of BETAS with the smallest mean log rank, which is smoother than R@1."""

        def badness(beta: float) -> float:
            combined = reranked_scores(self.cosines, self.candidates, self.scores, beta, k)
            return float(np.log1p(ranks_from_scores(combined, self.positives).best).mean())

        return min(BETAS, key=badness)


@dataclass(frozen=True)
class FitReport:
    """What was fitted, and what it gave on the data it was fitted on."""

    pair: PairSettings
    path: Path
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        pair = dataclasses.asdict(dataclasses.replace(self.pair, records=()))
        del pair["records"]
        return {**pair, "path": str(self.path), "skipped": len(self.skipped)}


def of_share(pairs: Sequence[Pair], share: float) -> list[Pair]:
    """Only the records that a `data.val_share` of this size holds out of training."""
    return [pair for pair, is_held in zip(pairs, held_out_of(pairs, share), strict=True) if is_held]


def fit_reranker(
    dual_encoder: DualEncoder | str | Path,
    cross_encoder: TrainedCrossEncoder,
    pairs: Sequence[Pair],
    *,
    most: int = 400,
    seed: int = 0,
    named: str = "pairs",
    progress: Progress = SILENT,
) -> FitReport:
    """Fit beta and K on pairs that neither model was trained on, and keep them in the cross-encoder's folder.

    Args:
        dual_encoder: the dual encoder.
        cross_encoder: the cross-encoder.
        pairs: the pairs.
        most: queries of each direction, drawn at random.
        seed: of that draw.
        named: what the pairs are called where the calibration of single pairs says what it was fitted on.
        progress: told what is being scored.

    Raises DataError when fewer than 10 pairs are left.
    """
    if cross_encoder.is_shipped:
        raise ConfigError(
            "the re-ranker that ships is fitted to the dual encoder base, and its folder is only read; fit a copy: "
            f"cp -r {quote(str(cross_encoder.folder))} reranker, then --reranker reranker"
        )
    dual_encoder = as_model(dual_encoder)
    require_cosine(dual_encoder, "re-ranking")
    kept = [pair for pair in pairs if pair.images and pair.texts]
    if len(kept) < 10:
        raise DataError(f"found {len(kept)} pairs to fit on, expected at least 10; name a larger split or share")
    prepared = Prepared.of(dual_encoder, cross_encoder, kept, progress)
    scored = {
        direction: prepared.score(direction, most=most, seed=seed) for direction in (TEXT_TO_IMAGE, IMAGE_TO_TEXT)
    }
    forward, backward = scored[TEXT_TO_IMAGE], scored[IMAGE_TO_TEXT]
    k, beta, curve = chosen_depth(forward)
    fitted = PairSettings(
        dual_encoder=dual_encoder.fingerprint,
        cross_encoder=cross_encoder.fingerprint,
        dual_encoder_name=dual_encoder.name,
        beta=beta,
        k=k,
        beta_image_to_text=backward.best_beta(k),
        fitted={
            "pictures": len(prepared.tokens),
            "queries": {name: len(one.cosines) for name, one in scored.items()},
            "seed": seed,
            "dual encoder R@1": {name: round(one.dual_encoder_recall(), 2) for name, one in scored.items()},
            "text_to_image R@1 by K": curve,
        },
        calibration=fit_relevance(cross_encoder, forward, k)
        if cross_encoder.config.objective.name == "captioning"
        else {},
        relate=fit_single_pairs(prepared, dual_encoder, kept, named, most=most, seed=seed),
        records=tuple(text_mark(pair.id, pair.texts) for pair in kept),
    )
    return FitReport(fitted, write_pair(cross_encoder.folder, fitted), prepared.embedded.skipped)


@dataclass(frozen=True)
class Evidence:
    """What the probabilities are fitted to: features of hits and of queries, and which were right."""

    hits: Float64[np.ndarray, "n f"]
    right: Bool[np.ndarray, " n"]
    queries: Float64[np.ndarray, "m f"]
    nothing: Bool[np.ndarray, " m"]


def evidence(cross_encoder: TrainedCrossEncoder, scored: Scored, k: int) -> Evidence:
    """The best k candidates of each text twice: as they are, and with the right image taken away.

    So in half of the lists and more nothing matches, as with texts that are shuffled among galleries.
    """
    priors, lengths = cross_encoder.scorer.prior(scored.words), cross_encoder.scorer.lengths(scored.words)
    hits, right, queries, nothing = [], [], [], []
    for row, (prior, words) in enumerate(zip(priors, lengths, strict=True)):
        own = scored.positives.items[scored.positives.offsets[row] : scored.positives.offsets[row + 1]]
        is_right = np.isin(scored.candidates[row], own)
        for kept in [True, False] if is_right[:k].any() else [True]:
            chosen = np.flatnonzero(np.ones_like(is_right) if kept else ~is_right)[:k]
            h = scored.scores[row, chosen]
            hits.append(hit_features(h, float(prior), float(words)))
            right.append(is_right[chosen])
            queries.append(query_features(h, float(prior), float(words)))
            nothing.append(not is_right[chosen].any())
    return Evidence(np.concatenate(hits), np.concatenate(right), np.concatenate(queries), np.array(nothing))


def fit_relevance(cross_encoder: TrainedCrossEncoder, scored: Scored, k: int) -> dict[str, Any]:
    """Both probabilities fitted to held-out queries, JSON-ready."""
    found = evidence(cross_encoder, scored, k)
    return Relevance(fit_logistic(found.hits, found.right), fit_logistic(found.queries, found.nothing)).to_json()


def fit_single_pairs(
    prepared: Prepared, dual_encoder: DualEncoder, pairs: Sequence[Pair], named: str, *, most: int, seed: int
) -> dict[str, Any]:
    """The calibration of one image with one text for `diptych relate`, JSON-ready; empty with too few pairs.

    The features are those of `CrossScorer`, of related and unrelated pairs of these records.
    """
    embedded, cross_encoder = prepared.embedded, prepared.cross_encoder
    image_at = {ref: place for place, ref in enumerate(embedded.image_refs)}
    text_at = {value: place for place, value in enumerate(embedded.values)}
    drawn = drawn_pairs(pairs, IMAGE_TEXT, most=most, seed=seed)
    half = np.concatenate(drawn.halves)
    places = [
        (image_at[as_ref(pair.left)], text_at[str(pair.right)], place < len(drawn.right), half[place])
        for place, pair in enumerate([*drawn.right, *drawn.wrong])
        if as_ref(pair.left) in image_at and str(pair.right) in text_at  # of records that could be read
    ]
    if not places:
        return {}
    images, texts, right, first = (np.array(column) for column in zip(*places, strict=True))
    own = cross_scores(cross_encoder, prepared.tokens[images], [embedded.values[text] for text in texts])
    cosines = np.einsum("kd,kd->k", embedded.images[images], embedded.texts[texts])
    scores = np.column_stack([own, of_cosines(dual_encoder.compares_by, cosines)])
    try:
        fitted = fit_pairs(scores[right], scores[~right], (first[right], first[~right]))
    except DataError:  # too few, or nothing to tell them apart by
        return {}
    scorer = CrossScorer(dual_encoder, cross_encoder)
    return Calibrations(scorer.fingerprint, scorer.name, scorer.measures, named, {IMAGE_TEXT: fitted}).to_json()


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of a pair's probabilities; `fitted_on` counts the records that they were fitted on."""

    hits: list[Bin]
    nothing: list[Bin]
    hit_error: float  # expected calibration error
    nothing_error: float
    queries: int
    fitted_on: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "ECE of hits": round(self.hit_error, 4),
            "ECE of nothing matches": round(self.nothing_error, 4),
            "queries": self.queries,
            "records fitted on": self.fitted_on,
            "hits": [dataclasses.asdict(one) for one in self.hits],
            "nothing": [dataclasses.asdict(one) for one in self.nothing],
        }


def check_relevance(
    dual_encoder: DualEncoder | str | Path,
    cross_encoder: TrainedCrossEncoder,
    pairs: Sequence[Pair],
    *,
    most: int = 400,
    seed: int = 0,
    progress: Progress = SILENT,
) -> CalibrationReport:
    """Reliability of what `fit_reranker` left for these models. The report counts the pairs that it was fitted on.

    Raises ModelError when nothing was fitted.
    """
    dual_encoder = as_model(dual_encoder)
    require_cosine(dual_encoder, "re-ranking")
    pair = read_pair(
        cross_encoder.folder, dual_encoder.fingerprint, cross_encoder.fingerprint, lasting_name(dual_encoder)
    )
    relevance = Relevance.from_json(pair.calibration)
    if relevance is None:
        raise ModelError(f"{cross_encoder.folder} has no probabilities for this pair; run diptych rerank fit again")
    known = set(pair.records)
    prepared = Prepared.of(dual_encoder, cross_encoder, pairs, progress)
    scored = prepared.score(TEXT_TO_IMAGE, depth=pair.k + 1, most=most, seed=seed)
    found = evidence(cross_encoder, scored, pair.k)
    hits, nothing = relevance.hit(found.hits), relevance.nothing(found.queries)
    return CalibrationReport(
        reliability(hits, found.right),
        reliability(nothing, found.nothing),
        calibration_error(hits, found.right),
        calibration_error(nothing, found.nothing),
        len(scored.words),
        sum(text_mark(one.id, one.texts) in known for one in pairs),
    )


def chosen_depth(scored: Scored) -> tuple[int, float, Mapping[str, float]]:
    """The fewest candidates that come within a quarter point of the best R@1, and their beta."""
    betas = {k: scored.best_beta(k) for k in DEPTHS}
    recalls = {k: round(scored.recall(beta, k), 2) for k, beta in betas.items()}
    k = next(k for k in DEPTHS if recalls[k] >= max(recalls.values()) - _WITHIN)
    return k, betas[k], {str(k): recall for k, recall in recalls.items()}


@dataclass(frozen=True)
class Prepared:
    """Pairs as both models see them: the dual encoder's vectors, the cross-encoder's tokens, and the texts."""

    cross_encoder: TrainedCrossEncoder
    embedded: EmbeddedPairs
    tokens: Float16[np.ndarray, "n r w"]  # of each image
    progress: Progress = SILENT

    @classmethod
    def of(
        cls,
        dual_encoder: DualEncoder,
        cross_encoder: TrainedCrossEncoder,
        pairs: Sequence[Pair],
        progress: Progress = SILENT,
    ) -> Prepared:
        """Every readable image of each pair and all of its texts; pairs without a readable image are left out."""
        embedded = embed_pairs(dual_encoder, pairs, progress=progress)
        for note in dual_encoder.cut_texts(embedded.values):
            progress.say(f"note: {note.to_text()}")
        tokens = cross_encoder.encode_images(embedded.image_refs, progress=progress)
        return cls(cross_encoder, embedded, tokens, progress)

    def score(
        self,
        direction: str,
        *,
        depth: int = DEPTHS[-1],
        most: int = 400,
        seed: int = 0,
        queries: Int64[np.ndarray, " q"] | None = None,
    ) -> Scored:
        """Cosines of `most` random queries (or of those named) with everything, and h of each one's best `depth`."""
        to_image, cross_encoder, words = direction == TEXT_TO_IMAGE, self.cross_encoder, self.embedded.values
        sides = (self.embedded.texts, self.embedded.owner), (self.embedded.images, self.embedded.image_owner)
        (asked, asked_owner), (items, item_owner) = sides if to_image else sides[::-1]
        if queries is None:
            queries = np.sort(np.random.default_rng(seed).permutation(len(asked))[:most])
        cosines = asked[queries] @ items.T
        candidates = top(cosines, depth)
        positives = Positives.from_labels(asked_owner[queries], item_owner)
        texts = tuple(words[query] for query in queries) if to_image else ()
        if depth >= cosines.shape[1]:  # everything: keys and values of an image are computed once for all texts
            every = (
                cross_encoder.scores(self.tokens, texts)
                if to_image
                else cross_encoder.scores(self.tokens[queries], words, IMAGE_TO_TEXT).T
            )
            return Scored(cosines, candidates, np.take_along_axis(every, candidates, 1), positives, texts)
        found = np.empty(candidates.shape, dtype=np.float32)
        for row in self.progress.track(
            range(len(queries)), f"matching {direction.replace('_', ' ')}", total=len(queries)
        ):
            if to_image:
                found[row] = cross_encoder.score(self.tokens[candidates[row]], texts[row])
            else:
                own = self.tokens[queries[row] : queries[row] + 1]
                found[row] = cross_encoder.scores(own, [words[item] for item in candidates[row]], IMAGE_TO_TEXT)[:, 0]
        return Scored(cosines, candidates, found, positives, texts)
