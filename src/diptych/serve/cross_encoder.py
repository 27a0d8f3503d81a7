"""What a cross-encoder adds to a library: a better order, relevance, captions, and which regions a word attends to.

Everything here blocks, for milliseconds or seconds: call it by way of `Service.slow_queue`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diptych.core.errors import LibraryError, ModelError
from diptych.core.protocols import CrossEncoder
from diptych.core.shapes import Float16, UInt8
from diptych.library import Library
from diptych.library.tokens import TokenStore

from .errors import log


class ServedCrossEncoder:
    """A loaded cross-encoder. `beta` is a weight of one's own for the cosine, instead of what was fitted.

    One that was not `named`, the shipped one, re-ranks the libraries that it is fitted for and says nothing of others.
    """

    def __init__(self, cross_encoder: CrossEncoder, beta: float | None = None, *, named: bool = True) -> None:
        self.model: Any = cross_encoder  # a TrainedCrossEncoder wherever `describes` holds
        self._beta, self._named = beta, named
        objective = getattr(getattr(getattr(cross_encoder, "config", None), "objective", None), "name", None)
        self.describes = objective == "captioning"  # only these can write captions and give a word's attention

    def attach(self, library: Library) -> bool:
        """Let a library be re-ranked. False, with a line in the log, when nothing was fitted for its model."""
        from diptych.runs.reranking import reranker

        try:
            library.attach(reranker(library.card.fingerprint, self.model, beta=self._beta, named=library.card.model))
        except (ModelError, LibraryError) as error:
            if self._named:
                log.warning("%s cannot be re-ranked: %s", library.folder.name, error)
            return False
        return True

    def knows(self, library: Library) -> bool:
        """Whether the library holds tokens of this cross-encoder."""
        return (library.folder / "tokens").is_dir() and len(TokenStore(library.folder, self.model)) > 0

    def reads(self, library: Library) -> bool:
        """Whether the library's items are images, whose tokens are there or are made when they are asked for."""
        return not library.holds_texts()

    def tokens(
        self, library: Library | None, content: str | None, pixels: UInt8[np.ndarray, "hh ww 3"] | None
    ) -> Float16[np.ndarray, "1 r w"]:
        """Region tokens of an image: those that the library keeps, else made from its pixels."""
        if library is not None and content is not None and self.knows(library):
            store = TokenStore(library.folder, self.model)
            if content in store:
                return store.get([content])
        if pixels is None:
            raise ValueError("neither tokens nor pixels")
        tokens: Float16[np.ndarray, "1 r w"] = self.model.encode_pixels(pixels[None])
        return tokens

    def keep(self, library: Library, content: str, pixels: UInt8[np.ndarray, "hh ww 3"]) -> None:
        """Keep the tokens of a new image, so that it can be re-ranked."""
        store = TokenStore(library.folder, self.model)
        if content not in store:
            store.keep(content, self.model.encode_pixels(pixels[None])[0])

    def describe(self, tokens: Float16[np.ndarray, "1 r w"], decode: str, seed: int) -> tuple[str, float]:
        """A caption and its log-likelihood."""
        from diptych.models.cross_encoder.captions import DecodingSettings, describe

        (caption,) = describe(self.model.scorer, tokens, DecodingSettings(decode, seed=seed))
        return caption.text, caption.log_likelihood

    def explain(self, tokens: Float16[np.ndarray, "1 r w"], text: str) -> Any:
        """A Match: the regions that each word attends to. Raises DataError for a text without words."""
        from diptych.models.cross_encoder.explain import explain_tokens

        return explain_tokens(self.model, tokens, text)
