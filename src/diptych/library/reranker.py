"""Re-ranking: the dual encoder finds the candidates, the cross-encoder puts them in order.

"Thinking Fast and Slow", section 3.3: order the top K by h(x, y) + beta * f(x) . g(y).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from diptych.core.checks import of_type, whole
from diptych.core.errors import ConfigError
from diptych.core.protocols import CrossEncoder
from diptych.core.shapes import Float, Float32, Float64, Int64
from diptych.core.similarity import of_cosines
from diptych.core.types import Hit
from diptych.evaluation.calibrations import GAIN, Calibrations
from diptych.evaluation.pair_calibration import PairCalibration

from . import query as queries
from .relevance import Prior, Relevance
from .tokens import TokenStore

MOST = 200  # candidates that a budget alone may lead to
_PART = 16  # candidates scored before the time is checked again


@dataclass(frozen=True, slots=True)
class Reranked:
    """The candidates in their new order: positions in the old one, and the scores they were ordered by.

    The first `count` of the old order were scored by the cross-encoder; the rest follow as they were.
    """

    order: Int64[np.ndarray, " c"]
    scores: Float32[np.ndarray, " c"]  # of the candidates in the new order
    count: int
    milliseconds: float


class Reranker:
    """A cross-encoder with the weight of the cosine and the number of candidates that were fitted for the pair.

    Args:
        dual_encoder: fingerprint of the dual encoder that the pair was fitted with.
        cross_encoder: the cross-encoder.
        beta: weight of the cosine beside h; the two have different scales.
        k: candidates to re-rank when nothing else is asked for.
        relevance: turns the cross-encoder's scores into probabilities; None leaves them out.
        prior: the cross-encoder's likelihood of texts without an image, which `relevance` needs.
        single: turns both models' scores of one image and one text into a probability; None where nothing was fitted.
    """

    def __init__(
        self,
        dual_encoder: str,
        cross_encoder: CrossEncoder,
        beta: float,
        k: int = 50,
        *,
        relevance: Relevance | None = None,
        prior: Prior | None = None,
        single: Calibrations | None = None,
    ) -> None:
        if beta < 0 or k < 1:
            raise ConfigError(f"beta must be at least 0 and k at least 1, found {beta} and {k}")
        self.dual_encoder = dual_encoder
        self.cross_encoder = cross_encoder
        self.beta = beta
        self.k = k
        self.single = single
        self._relevance = relevance
        self._prior = prior

    @property
    def scored_by(self) -> str:
        """What a hit says about its score."""
        return f"{self.cross_encoder.name} h + {self.beta:g} cosine"

    @property
    def is_calibrated(self) -> bool:
        """Whether hits say how likely they are right."""
        return self._relevance is not None and self._prior is not None

    def probabilities(self, text: str, h: Float[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
        """How likely each of several images is the right one for a text, from the cross-encoder's scores of them.

        Raises ConfigError where nothing was fitted.
        """
        return self._relevance_of(text, h)[0]

    def belonging(self, text: str, hits: Sequence[Hit], pair: PairCalibration) -> list[float | None]:
        """How likely each hit belongs to a text, by both models' scores; None for one that was not re-ranked."""
        ranked = [hit.scored_by == self.scored_by for hit in hits]
        cosines = np.array([hit.meta["cosine"] for hit, own in zip(hits, ranked, strict=True) if own])
        scores = np.array([hit.score for hit, own in zip(hits, ranked, strict=True) if own])
        own = scores - self.beta * cosines
        assert self.single is not None
        measure, compares_by = self.single.measures
        if measure == GAIN and self._prior is not None:
            own = (own - float(self._prior.prior([text])[0])) / float(self._prior.lengths([text])[0])
        found = iter(pair.probability(np.column_stack([own, of_cosines(compares_by, cosines)])).tolist())
        return [next(found) if is_ranked else None for is_ranked in ranked]

    def _relevance_of(self, text: str, h: Float[np.ndarray, " c"]) -> tuple[Float64[np.ndarray, " c"], float]:
        """As `Relevance.of`. Raises ConfigError where nothing was fitted."""
        if self._relevance is None or self._prior is None:
            raise ConfigError("no probabilities were fitted for this pair; run diptych rerank fit")
        prior, words = float(self._prior.prior([text])[0]), float(self._prior.lengths([text])[0])
        return self._relevance.of(np.asarray(h, dtype=np.float64), prior, words)

    def unread(self, text: str) -> str | None:
        """What to know about words that the cross-encoder does not know or read, where it can tell; else None."""
        unread: Callable[[str], str | None] = getattr(self.cross_encoder, "unread", lambda _: None)
        return unread(text)

    def order(
        self,
        text: str,
        tokens: Float[np.ndarray, "t r w"],
        cosines: Float[np.ndarray, " c"],
        budget_ms: float | None = None,
    ) -> Reranked:
        """Order candidates, given best first by cosine, by h + beta * cosine; `tokens` are those of the first.

        With a budget the candidates are scored in their order until the time is used up, at least 16 of
        them: so the budget picks K on the machine that runs, whatever its speed.
        """
        started = time.perf_counter()
        cosines = np.asarray(cosines, dtype=np.float32)
        found: list[Float32[np.ndarray, " p"]] = []
        count = 0
        step = len(tokens) if budget_ms is None else _PART
        while count < len(tokens):
            part = slice(count, min(len(tokens), count + step))
            found.append(self.cross_encoder.score(tokens[part], text))
            count = part.stop
            spent = 1000 * (time.perf_counter() - started)
            # the next part takes about as long as those before
            if budget_ms is not None and spent + spent / len(found) > budget_ms:
                break
        scores = np.concatenate([*found, np.zeros(0, dtype=np.float32)]) + self.beta * cosines[:count]
        first = np.argsort(-scores, kind="stable")
        order = np.concatenate([first, np.arange(count, len(cosines))]).astype(np.int64)
        ordered = np.concatenate([scores[first], cosines[count:]]).astype(np.float32)
        return Reranked(order, ordered, count, 1000 * (time.perf_counter() - started))

    def hits(
        self, text: str, candidates: Sequence[Hit], tokens: Float[np.ndarray, "t r w"], budget_ms: float | None = None
    ) -> list[Hit]:
        """Hits of a search, best first by cosine, in the new order; each says which score ordered it.

        `tokens` are those of the first candidates; what has none keeps its place behind them. Where relevance
        was fitted, their meta holds `probability` (the hit is right) and `nothing_matches` (of the query).
        """
        cosines = np.array([hit.score for hit in candidates])
        found = self.order(text, tokens, cosines, budget_ms)
        relevance = self._facts_of_relevance(text, found, cosines)
        hits = []
        for rank, place in enumerate(found.order.tolist()):
            hit = replace(candidates[place], rank=rank)
            if rank < found.count:
                meta = {**hit.meta, "cosine": hit.score, **relevance[rank]}
                hit = replace(hit, score=float(found.scores[rank]), scored_by=self.scored_by, meta=meta)
            hits.append(hit)
        return hits

    def _facts_of_relevance(
        self, text: str, found: Reranked, cosines: Float[np.ndarray, " c"]
    ) -> list[dict[str, float]]:
        """What each re-ranked hit's meta says about its relevance, by rank; nothing where none was fitted."""
        if not self.is_calibrated or not found.count:
            return [{}] * found.count
        first = found.order[: found.count]
        h = found.scores[: found.count].astype(np.float64) - self.beta * cosines[first]
        probabilities, nothing = self._relevance_of(text, h)
        return [{"probability": round(one, 4), "nothing_matches": round(nothing, 4)} for one in probabilities.tolist()]


def check_depth(rerank: int, budget_ms: float | None) -> None:
    """Raise ConfigError for a number of candidates or a budget that cannot be used."""
    if not 0 <= whole("rerank", rerank) <= 1000:
        raise ConfigError(f"rerank must be from 1 to 1,000 candidates, found {rerank}")
    if budget_ms is not None and not of_type(budget_ms, Real, "milliseconds as budget_ms") > 0:
        raise ConfigError(f"the budget must be above 0 ms, found {budget_ms}")


def plain_words(text: str) -> str:
    """The words of a query. Raises ConfigError for a sum of texts and images: it has no likelihood."""
    terms = queries.parse(of_type(text, str, "words to re-rank by"))
    if len(terms) != 1 or terms[0].text is None:
        raise ConfigError("only plain words can be re-ranked, found a sum or an image; leave out rerank")
    return terms[0].text


def with_tokens_first(candidates: Sequence[Hit], contents: Sequence[str], store: TokenStore) -> tuple[list[Hit], int]:
    """Candidates that have tokens, in their order, then the others; and how many have."""
    known = [content in store for content in contents]
    there = [hit for hit, has in zip(candidates, known, strict=True) if has]
    return there + [hit for hit, has in zip(candidates, known, strict=True) if not has], len(there)
