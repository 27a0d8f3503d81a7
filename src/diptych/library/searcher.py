"""`Library.search`: by the dual encoder's cosine alone (`Reader`), or re-ranked by a cross-encoder (`Reranker`)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.file_names import escape
from diptych.core.types import Hit
from diptych.library.store.where import Where

from . import query as queries
from .opened import Opened
from .ordering import SCORE
from .reader import Query, Reader
from .words import DEPTH

if TYPE_CHECKING:
    from diptych.evaluation.calibrations import Calibrations

    from .own_probability import Asked
    from .relevant import Judge
    from .reranker import Reranker
    from .tokens import TokenStore


class Searcher:
    """Searches of one open library. The re-ranker's modules are imported only when one is asked for."""

    def __init__(self, opened: Opened, reader: Reader) -> None:
        self._opened, self._reader = opened, reader
        self.reranker: Reranker | None = None

    def search(
        self,
        query: Query,
        k: int = 10,
        where: str | Where | None = None,
        *,
        cut: bool = False,
        rerank: int = 0,
        budget_ms: float | None = None,
        sort: str = SCORE,
        only_relevant: bool = False,
        calibration: Calibrations | str | Path | None = None,
        ocr: bool = False,
    ) -> list[Hit]:
        """The k nearest images to words, a sum (see `query`), an image's path, or a vector; best first.

        Equal scores are ordered by id. `where` is a filter over `columns` (see `where_sql`). `cut` shortens text over
        1,000 characters instead of refusing it. With `rerank` the nearest so many are put in order by the attached
        re-ranker; `budget_ms` bounds its time instead, or as well (see `Reranker.order`).

        `sort` puts the k nearest in another order than by `score`: by `taken`, the newest photo first, or by `size`,
        that with most pixels first (see `in_order`).

        Where the model itself judges pairs (SigLIP), the meta of an image found by plain words, and of a text found by
        an image, holds its `probability` that the two belong together.

        With `only_relevant` those of the k nearest are left out that hardly belong to the query, plain words or one
        image: whose probability is below the cut of the model's calibration, or with `rerank` of the re-ranker's (see
        `relevant`). The others have it in their meta as `belongs`. `calibration` is one of `diptych relate
        --calibrate`, or its file, where the model comes with none.

        With `ocr` images are found by the words inside them too, where `index --ocr` read some (see `with_words`): of
        at least 50 nearest, also where `only_relevant` judges them.

        Warns (`QueryWarning`) of plain words that read like a sum or an image's name, and of words that are longer than
        the model reads, or that the re-ranker does not know, and of hits that are hidden. Raises LimitError, DataError
        or ConfigError for a query, k or filter that cannot be used, or where nothing is calibrated; LibraryError
        without a re-ranker or its tokens.
        """
        queries.check_k(k)
        self._reader.check_sort(sort)
        if ocr:
            self._check_words(query)
        is_reranked = bool(rerank) or budget_ms is not None
        judge = self._judge_of(query, calibration, is_reranked) if only_relevant else None
        depth = max(k, DEPTH) if ocr else k
        if is_reranked:
            found = self._reranked(query, depth, where, rerank, budget_ms, cut=cut)
        else:
            found = self._reader.search(query, depth, where, cut=cut)
        if judge is not None:
            relevant = judge(found, query if isinstance(query, str) else "")
            if (said := relevant.to_text()) is not None:
                warnings.warn(queries.HiddenWarning(said, relevant.hidden), stacklevel=3)
            found = relevant.hits
        if ocr:
            found = self.with_words(str(query), found, k, where)
        return self._reader.in_order(found, sort)

    def attach(self, reranker: Reranker) -> None:
        """Let `search` re-rank. Raises LibraryError for a re-ranker that was fitted with another dual encoder."""
        from .tokens import address_of

        about = self._opened.card
        if reranker.dual_encoder != about.fingerprint:
            raise LibraryError(
                f"the re-ranking was fitted with the dual encoder {reranker.dual_encoder[:8]}, the library "
                f"{escape(str(self._opened.folder))} was made by {about.fingerprint[:8]}; fit it for this model: "
                f"diptych rerank fit PAIRS --model {quote(about.model)} "
                f"--reranker {quote(address_of(reranker.cross_encoder))}"
            )
        self.reranker = reranker

    def reordered(
        self,
        text: str,
        hits: Sequence[Hit],
        *,
        rerank: int = 0,
        budget_ms: float | None = None,
        notes: list[str] | None = None,
    ) -> list[Hit]:
        """Hits of a search for `text`, best first by cosine: the first `rerank` put in order by the re-ranker.

        Candidates without tokens get them now, in half of the budget at most. Those that have none then, because the
        time is up or the image is gone, keep their order behind the others; how many they are goes into `notes`, or is
        warned of (`QueryWarning`) without them. Raises LibraryError without a re-ranker, or where no candidate
        has tokens; ConfigError for a sum or a depth that cannot be used.
        """
        from .images import Wanted
        from .on_demand import add_tokens_of
        from .reranker import MOST, plain_words, with_tokens_first
        from .tokens import address_of, none_seen

        reranker, store = self._tokens(rerank, budget_ms)
        text, depth = plain_words(text), rerank or MOST
        rows = {row.id: row for row in self._opened.view.rows([hit.id for hit in hits])}
        there = [hit for hit in hits if hit.id in rows]  # one may have been deleted since
        candidates = [rows[hit.id] for hit in there[:depth]]
        wanted = [Wanted(row.id, row.path, row.content) for row in candidates]
        started = time.perf_counter()
        add_tokens_of(store, wanted, self._opened.folder, budget_ms)
        first, known = with_tokens_first(there[:depth], [row.content for row in candidates], store)
        if candidates and not known:
            raise none_seen(self._opened.folder, address_of(reranker.cross_encoder))
        if budget_ms is not None:
            budget_ms = max(1.0, budget_ms - 1000 * (time.perf_counter() - started))
        found = reranker.hits(
            text, [*first, *there[depth:]], store.get([rows[hit.id].content for hit in first[:known]]), budget_ms
        )
        if known < len(candidates):
            told = (
                f"{len(candidates) - known} of the {len(candidates)} candidates were not looked at: they have no "
                "tokens yet, and the time was up or their images are gone; diptych rerank prepare makes all tokens"
            )
            if notes is None:
                warnings.warn(told, queries.UnseenWarning, stacklevel=2)
            else:
                notes.append(told)
        return found

    def judge(
        self, asked: Asked, calibration: Calibrations | str | Path | None = None, *, is_reranked: bool = False
    ) -> Judge:
        """What tells which hits belong to the query (see `search`). Raises ConfigError where nothing is calibrated."""
        from .relevant import judge  # rarely needed

        if is_reranked and self.reranker is None:
            raise _no_reranker()
        return judge(
            self._opened.required_model(),
            self._opened.card.model,
            asked,
            of_texts=self._reader.holds_texts(),
            calibration=calibration,
            reranker=self.reranker if is_reranked else None,
        )

    def with_words(self, text: str, nearest: Sequence[Hit], k: int, where: str | Where | None = None) -> list[Hit]:
        """The k best of the hits of a search for `text` and of the images in which its words were read.

        Both are joined by their ranks (see `words`); fewer than `DEPTH` nearest make the first hits depend on k. A hit
        by words says them as `words_in_image` in its meta, and is shown however its image is judged. Raises
        LibraryError where no words were read.
        """
        from . import words

        store = self._opened.store()
        found = store.worded(text, max(k, DEPTH), None if where is None else self._opened.parsed(where))
        known = {row.id: str((row.photo or {}).get("words", "")) for row in store.get(found, vectors=False)}
        found = [one for one in found if words.holds_half(known.get(one, ""), text)]
        hits = [
            Hit(rank, one.id, 0.0, one.path, {**one.meta, words.WORDS: words.shown(known[one.id])}, words.ALONE)
            for rank, one in enumerate(self._reader.facts(found))
        ]
        return words.fused(nearest, hits, k)

    def _check_words(self, query: Query) -> None:
        """Raise ConfigError for anything but words, LibraryError where words in images cannot be searched."""
        if not isinstance(query, str) or len(queries.parse(query)) != 1:
            raise ConfigError("only plain words can be looked for inside images, found a sum, an image or a vector")
        self._opened.store().check_words()

    def _judge_of(self, query: Query, calibration: Calibrations | str | Path | None, is_reranked: bool) -> Judge:
        is_words = isinstance(query, str) and len(queries.parse(query)) == 1
        if not is_words and not isinstance(query, Path):
            raise ConfigError(
                "only hits of plain words or of one image can be told to be relevant, found a sum or a vector"
            )
        return self.judge("text" if is_words else "image", calibration, is_reranked=is_reranked)

    def _reranked(
        self, query: Query, k: int, where: str | Where | None, rerank: int, budget_ms: float | None, *, cut: bool
    ) -> list[Hit]:
        from .reranker import MOST, plain_words

        reranker, _ = self._tokens(rerank, budget_ms)  # before anything is embedded
        if not isinstance(query, str):
            raise ConfigError("only words can be re-ranked, found an image or a vector; leave out rerank")
        text = plain_words(queries.check_text(query, cut=cut))
        if (unread := reranker.unread(text)) is not None:
            warnings.warn(unread, queries.UnknownWarning, stacklevel=4)
        vector = self._reader.vector(text)
        (answer,) = self._reader.search_many(vector[np.newaxis], [max(k, rerank or MOST)], where)
        return self.reordered(text, answer.hits, rerank=rerank, budget_ms=budget_ms)[:k]

    def _tokens(self, rerank: int, budget_ms: float | None) -> tuple[Reranker, TokenStore]:
        """The re-ranker, and the tokens that it reads. Raises LibraryError when there can be none."""
        from .reranker import check_depth
        from .tokens import TokenStore, address_of, none_seen

        check_depth(rerank, budget_ms)
        if self.reranker is None:
            raise _no_reranker()
        try:
            return self.reranker, TokenStore(self._opened.folder, self.reranker.cross_encoder)
        except OSError as error:  # a folder that is only read, without tokens
            raise none_seen(self._opened.folder, address_of(self.reranker.cross_encoder)) from error


def _no_reranker() -> LibraryError:
    return LibraryError("nothing can be re-ranked without a cross-encoder; attach a Reranker to the library first")
