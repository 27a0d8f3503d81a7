"""A frozen text tower's features and a tokenizer's ids side by side, for a network that reads both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.protocols import TextTower
from diptych.core.shapes import Float32
from diptych.encoders.text.tokens import TokenTower


class FeaturesAndTokens:
    """Rows of `features.dim` numbers followed by `tokens.dim` ids, -1 behind a text's last.

    A row is float32, which holds ids below 2^24 exactly. Each part is cached by itself (`parts`), so features that are
    known from a run without the tokenizer are not computed again. Its languages are those of either part: a language
    that the frozen tower does not know may be among the tokenizer's training texts.

    Args:
        features: a frozen tower.
        tokens: a tokenizer.
    """

    storage = "float32"

    def __init__(self, features: TextTower, tokens: TokenTower) -> None:
        self.features, self.tokens = features, tokens
        self.languages = features.languages | tokens.languages
        self.vocabulary = tokens.vocabulary

    @property
    def parts(self) -> tuple[TextTower, TextTower]:
        """Both towers, in the order of a row."""
        return self.features, self.tokens

    @cached_property
    def dim(self) -> int:
        """Numbers and ids of a row together."""
        return self.features.dim + self.tokens.dim

    @cached_property
    def fingerprint(self) -> str:
        """Of both parts."""
        return fingerprint.combined([part.fingerprint for part in self.parts])

    @property
    def max_tokens(self) -> int | None:
        """The lower limit of the two."""
        return least_limit(self.parts)

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b n"]:
        """Features and ids of texts."""
        return np.concatenate([part.embed(texts) for part in self.parts], axis=1, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, as of several towers side by side."""
        return counts_where_cut(self.parts, texts)

    def word_places(self, text: str) -> list[tuple[str, list[int]]]:
        """As of the tokenizer: places within the ids."""
        return self.tokens.word_places(text)


def tokens_of(tower: Any) -> TokenTower | None:
    """The tokenizer of a tower that gives token ids, alone or behind features; None for others."""
    found = tower.tokens if isinstance(tower, FeaturesAndTokens) else tower
    return found if isinstance(found, TokenTower) else None


def least_limit(towers: Sequence[TextTower]) -> int | None:
    """The smallest number of tokens that any tower reads; None where none cuts a text."""
    return min((tower.max_tokens for tower in towers if tower.max_tokens is not None), default=None)


def counts_where_cut(towers: Sequence[TextTower], texts: Sequence[str]) -> list[int]:
    """Tokens of each whole text for the tower that cuts it; where none does, for the one that reads the fewest.

    So a count is above the least limit for the texts alone that a tower does not read whole.
    """
    limits = [np.inf if tower.max_tokens is None else tower.max_tokens for tower in towers]
    counts = zip(*(tower.count_tokens(texts) for tower in towers), strict=True)
    return [max(zip(found, limits, strict=True), key=_excess)[0] for found in counts]


def _excess(counted: tuple[int, float]) -> tuple[float, float]:
    """Order of a tower's count and limit: by the tokens it cuts, then the lowest limit first."""
    count, limit = counted
    return max(0, count - limit), -limit


def named_fingerprint(tower: Any) -> str:
    """The fingerprint of what a saved model names rather than holds: of the frozen part, where ids stand beside it.

    The tokenizer lies in the model's folder, and its file is hashed there. Its own fingerprint is of what the package
    `tokenizers` writes, which another version may write in another way.
    """
    found: str = tower.features.fingerprint if isinstance(tower, FeaturesAndTokens) else tower.fingerprint
    return found
