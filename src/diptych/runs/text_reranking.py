"""Fitting a dual encoder and a text cross-encoder to each other, and putting a re-ranker of texts together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Pair
from diptych.data.seen import text_mark
from diptych.evaluation import Positives
from diptych.evaluation.reranking import top
from diptych.inspection.text_reranking import DEPTH, TextReranker
from diptych.models import DualEncoder, as_model, lasting_name, require_cosine
from diptych.models.cross_encoder.pair import PairSettings, read_pair, write_pair
from diptych.models.embed import embed_texts
from diptych.models.text_cross_encoder import TextCrossEncoder
from diptych.training.text_relations import text_relations

from .reranking import DEPTHS, FitReport, Scored, chosen_depth

TEXT_TO_TEXT = "text_to_text"


def text_reranker(
    dual_encoder: DualEncoder, cross_encoder: TextCrossEncoder, *, beta: float | None = None, k: int | None = None
) -> TextReranker:
    """The re-ranker as `fit_text_reranker` left it; a `beta` of one's own needs no fitting.

    Raises ModelError when nothing was fitted for the two, with the command that does it.
    """
    if beta is not None:
        return TextReranker(cross_encoder, beta, k or DEPTH)
    named = lasting_name(dual_encoder)
    pair = read_pair(cross_encoder.folder, dual_encoder.fingerprint, cross_encoder.fingerprint, named)
    return TextReranker(cross_encoder, pair.beta, k or pair.k, frozenset(pair.records))


def fit_text_reranker(
    dual_encoder: DualEncoder | str | Path,
    cross_encoder: TextCrossEncoder,
    pairs: Sequence[Pair],
    *,
    most: int = 400,
    seed: int = 0,
    progress: Progress = SILENT,
) -> FitReport:
    """Fit beta and K on texts that neither model was trained on, and keep them in the cross-encoder's folder.

    Queries ask for documents; without these, each text asks for the others of its record. At most `most` texts ask,
    drawn at random. Raises DataError when fewer than 10 do.
    """
    dual_encoder = as_model(dual_encoder)
    require_cosine(dual_encoder, "re-ranking")
    kept = [pair for pair in pairs if pair.texts]
    vectors = embed_texts(dual_encoder, kept, progress=progress)
    relations = text_relations(vectors.owner, vectors.written)
    if len(relations.asking) < 10:
        raise DataError(
            f"found {len(relations.asking)} texts with an answer to fit on, expected at least 10; name a larger split "
            "or share"
        )
    asking = np.sort(np.random.default_rng(seed).permutation(len(relations.asking))[:most])
    rows, gallery = relations.asking[asking], relations.gallery
    cosines = vectors.texts[rows] @ vectors.texts[gallery].T
    itself = rows[:, None] == gallery[None]
    cosines[itself] = -2.0  # a text is not an answer to itself
    candidates = top(cosines, DEPTHS[-1])
    pairs_of = np.repeat(rows, candidates.shape[1]), gallery[candidates].ravel()
    scores = cross_encoder.score_pairs(vectors.values, *pairs_of, progress=progress).reshape(candidates.shape)
    scores[np.take_along_axis(itself, candidates, axis=1)] = scores.min() - 1  # last, whatever beta is
    values = np.array(vectors.values, dtype=object)  # a text that several records have is an answer wherever it stands
    own = [np.isin(values[gallery], values[relations.answers[place]]) for place in asking]
    positives = Positives.from_gains(
        [dict.fromkeys(np.flatnonzero(found).tolist(), 1.0) for found in own], len(gallery)
    )
    scored = Scored(cosines, candidates, scores, positives)
    k, beta, curve = chosen_depth(scored)
    fitted = PairSettings(
        dual_encoder=dual_encoder.fingerprint,
        cross_encoder=cross_encoder.fingerprint,
        dual_encoder_name=dual_encoder.name,
        beta=beta,
        k=k,
        fitted={
            "texts": len(gallery),
            "queries": {TEXT_TO_TEXT: len(rows)},
            "seed": seed,
            "dual encoder R@1": {TEXT_TO_TEXT: round(scored.dual_encoder_recall(), 2)},
            f"{TEXT_TO_TEXT} R@1 by K": curve,
        },
        records=tuple(text_mark(pair.id, pair.texts) for pair in kept if not pair.is_gallery),
    )
    return FitReport(fitted, write_pair(cross_encoder.folder, fitted), vectors.skipped)
