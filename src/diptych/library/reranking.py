"""Re-ranking the hits of a library by the cross-encoder of its attached `Reranker`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.shapes import Float32
from diptych.core.types import Hit
from diptych.library.store.where import Where

from . import query as queries
from .reader import Reader
from .reranker import MOST, Reranker, check_depth, check_text, with_tokens_first
from .tokens import TokenStore, address_of, missing


def search(
    reader: Reader,
    query: str | Path | Float32[np.ndarray, d],
    k: int,
    where: str | Where | None,
    rerank: int,
    budget_ms: float | None,
    *,
    cut: bool,
) -> list[Hit]:
    """As `Reader.search`: the nearest by cosine, put in order by the cross-encoder."""
    _tokens(reader, rerank, budget_ms)  # before anything is embedded
    if not isinstance(query, str):
        raise ConfigError("only words can be re-ranked, found an image or a vector; leave out rerank")
    text = check_text(queries.check_text(query, cut=cut))
    (answer,) = reader.search_many(reader.vector(text)[np.newaxis], [max(k, rerank or MOST)], where)
    return reordered(reader, text, answer.hits, rerank, budget_ms)[:k]


def reordered(reader: Reader, text: str, hits: Sequence[Hit], rerank: int, budget_ms: float | None) -> list[Hit]:
    """As `Reader.reordered`."""
    reranker, store = _tokens(reader, rerank, budget_ms)
    text, depth = check_text(text), rerank or MOST
    content = {one.id: one.content for one in reader.facts([hit.id for hit in hits])}
    there = [hit for hit in hits if hit.id in content]  # one may have been deleted since
    first, known = with_tokens_first(there[:depth], [content[hit.id] for hit in there[:depth]], store)
    tokens = store.get([content[hit.id] for hit in first[:known]])
    return reranker.hits(text, [*first, *there[depth:]], tokens, budget_ms)


def _tokens(reader: Reader, rerank: int, budget_ms: float | None) -> tuple[Reranker, TokenStore]:
    """The re-ranker, and the tokens that it reads. Raises LibraryError when there are none."""
    check_depth(rerank, budget_ms)
    reranker = reader.reranker
    if reranker is None:
        raise LibraryError("nothing can be re-ranked without a cross-encoder; attach a Reranker to the library first")
    store = TokenStore.existing(reader.folder, reranker.cross_encoder)
    if store is None:
        raise missing(reader.folder, address_of(reranker.cross_encoder))
    return reranker, store
