"""What a library does with a cross-encoder, with videos and with texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.file_names import escape
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.types import Hit
from diptych.library.indexing.report import IndexReport
from diptych.library.store.where import Where

from . import query as queries
from .searching import Searching

if TYPE_CHECKING:
    from diptych.core.protocols import CrossEncoder
    from diptych.data.readers import SourceOptions
    from diptych.data.video import MomentPlan, VideoLimits

    from .rerank import Reranker
    from .tokens import TokenReport, TokenStore


class Matching(Searching):
    """A library that a cross-encoder may put in order, and that holds moments of videos, or texts."""

    _reranker: Reranker | None = None

    def search(
        self,
        query: str | Path | Float32[np.ndarray, d],
        k: int = 10,
        where: str | Where | None = None,
        *,
        cut: bool = False,
        rerank: int = 0,
        budget_ms: float | None = None,
    ) -> list[Hit]:
        """As `Searching.search`; with `rerank` the nearest so many are put in order by the attached cross-encoder.

        `budget_ms` bounds the cross-encoder's time instead, or as well (see `Reranker.order`). Raises LibraryError
        without a cross-encoder or its tokens.
        """
        queries.check_k(k)
        if rerank or budget_ms is not None:
            return self._reranked(query, k, where, rerank, budget_ms, cut=cut)
        return super().search(query, k, where, cut=cut)

    def add_tokens(self, cross_encoder: CrossEncoder, *, progress: Progress = SILENT) -> TokenReport:
        """Keep the cross-encoder's tokens of every picture that has none yet, so that `search` can re-rank.

        Pictures are read again from where they were indexed; a missing or bad one is skipped and named. Moments of
        videos and texts have no tokens: they are counted. Interrupted, it goes on where it was. Needs no model.

        Raises LibraryError for a library without a picture.
        """
        from .refs import pictures_of
        from .tokens import TokenStore

        with self._writing() as store:
            others: Counter[str] = Counter()
            report = TokenStore(self.folder, cross_encoder).add(
                pictures_of(store, self.folder, others), progress=progress
            )
        if others and not (report.added or report.known or report.skipped):
            raise LibraryError(
                f"the library {escape(str(self.folder))} holds {' and '.join(others)} and no picture; tokens for "
                "re-ranking are kept of pictures alone"
            )
        return replace(report, others=dict(others))

    def attach(self, reranker: Reranker) -> None:
        """Let `search` re-rank. Raises LibraryError for a pair that was fitted with another dual encoder."""
        from .tokens import address_of

        if reranker.dual_encoder != self.card.fingerprint:
            raise LibraryError(
                f"the re-ranking was fitted with the dual encoder {reranker.dual_encoder[:8]}, the library "
                f"{escape(str(self.folder))} was made by {self.card.fingerprint[:8]}; fit it for this model: "
                f"diptych fit-rerank --fast {quote(self.card.model)} "
                f"--slow {quote(address_of(reranker.cross_encoder))} --data PAIRS"
            )
        self._reranker = reranker

    @property
    def reranker(self) -> Reranker | None:
        """What `attach` gave."""
        return self._reranker

    def reordered(
        self, text: str, hits: Sequence[Hit], *, rerank: int = 0, budget_ms: float | None = None
    ) -> list[Hit]:
        """Hits of a search for `text`, best first by cosine: the first `rerank` in the cross-encoder's order.

        Pictures without tokens keep their place behind those that have some. Raises LibraryError without a
        cross-encoder or its tokens, ConfigError for a sum or a depth that cannot be used.
        """
        from .rerank import MOST, check_text, with_tokens_first

        store = self._tokens(rerank, budget_ms)
        assert self._reranker is not None
        text, depth = check_text(text), rerank or MOST
        view = self.snapshot()
        rows = view.find([hit.id for hit in hits])
        content = {view.id(int(row)): view.row(int(row))["content"] for row in rows}
        there = [hit for hit in hits if hit.id in content]  # one may have been deleted since
        first, known = with_tokens_first(there[:depth], [content[hit.id] for hit in there[:depth]], store)
        tokens = store.get([content[hit.id] for hit in first[:known]])
        return self._reranker.hits(text, [*first, *there[depth:]], tokens, budget_ms)

    def index_videos(
        self,
        paths: Iterable[Path | str],
        *,
        plan: MomentPlan | None = None,
        limits: VideoLimits | None = None,
        progress: Progress = SILENT,
    ) -> IndexReport:
        """Bring the library up to date with the videos at these paths: one row a moment, searched as pictures are.

        A moment's vector is the mean of its frames'. A video that cannot be read is skipped and named. Raises
        DataError when there is no video, and LibraryError when another process is writing.
        """
        from diptych.data.video import MomentPlan, VideoLimits
        from diptych.encoders.video import MeanPooledVideo
        from diptych.library.indexing.videos import index_videos

        model = self._needed_model()
        tower = MeanPooledVideo(model.encode_pixels, model.preprocess)
        with self._writing() as store:
            report = index_videos(
                store,
                self.thumbs,
                tower.embed,
                paths,
                plan=plan or MomentPlan(),
                limits=limits or VideoLimits(),
                progress=progress,
            )
            self._refresh()
        return report

    def index_texts(
        self,
        paths: Iterable[Path | str],
        *,
        format: str | None = None,
        source: SourceOptions | None = None,
        progress: Progress = SILENT,
    ) -> IndexReport:
        """Bring the library up to date with the texts of these sources: one row a text, searched as pictures are.

        `format` and `source` say how to read them, as for `open_source`.

        Raises DataError when there is no text, and LibraryError for a library of pictures, or when another
        process is writing.
        """
        from diptych.library.indexing.texts import ANY_SOURCE, index_texts

        model = self._needed_model()
        with self._writing() as store:
            report = index_texts(
                store,
                self.thumbs,
                model.encode_texts,
                paths,
                format=format,
                options=source or ANY_SOURCE,
                progress=progress,
            )
            self._refresh()
        return report

    def _reranked(
        self, query: Any, k: int, where: str | Where | None, rerank: int, budget_ms: float | None, *, cut: bool
    ) -> list[Hit]:
        from .rerank import MOST, check_text

        self._tokens(rerank, budget_ms)
        if not isinstance(query, str):
            raise ConfigError("only words can be re-ranked, found a picture or a vector; leave out rerank")
        text = check_text(queries.check_text(query, cut=cut))
        candidates = self._nearest(self.vector(text), max(k, rerank or MOST), where)
        return self.reordered(text, candidates, rerank=rerank, budget_ms=budget_ms)[:k]

    def _tokens(self, rerank: int, budget_ms: float | None) -> TokenStore:
        """The tokens to re-rank by. Raises LibraryError when there are none."""
        from .rerank import check_depth
        from .tokens import FOLDER, TokenStore, address_of, missing

        check_depth(rerank, budget_ms)
        if self._reranker is None:
            raise LibraryError(
                "nothing can be re-ranked without a cross-encoder; attach a Reranker to the library first"
            )
        if not (self.folder / FOLDER).is_dir():
            raise missing(self.folder, address_of(self._reranker.cross_encoder))
        store = TokenStore(self.folder, self._reranker.cross_encoder)
        if not len(store):
            raise missing(self.folder, address_of(self._reranker.cross_encoder))
        return store
