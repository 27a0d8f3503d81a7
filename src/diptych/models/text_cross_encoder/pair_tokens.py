"""Two texts as one row of token ids: what a text cross-encoder reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Int32
from diptych.encoders.text.tokens import PADDING, TokenTower


class PairTokens:
    """[CLS] query [SEP] text [SEP]: the ids of both, each cut at the tokenizer's `max_tokens`, and -1 behind them.

    Raises ConfigError for a tokenizer that ends its texts with no token, as "words" does, or that fills its rows:
    where the query ends could not be seen.
    """

    storage = "int32"

    def __init__(self, tokens: TokenTower) -> None:
        (probe,) = tokens.embed(["a b"])
        same = tokens.embed(["a", "b c"])
        ends = [row[row >= 0][-1] for row in (probe, *same)]
        if tokens.rules.full_length or tokens.rules.pad_left or len(set(map(int, ends))) > 1:
            raise ConfigError(
                "a text cross-encoder needs a tokenizer that ends each text with a token of its own; set "
                'text.tower = "wordpiece", or "tokens:FOLDER" of a BERT-like model'
            )
        self.tokens = tokens
        self._starts = int(probe[0]) if all(int(row[0]) == int(probe[0]) for row in same) else None
        self.dim = 2 * tokens.dim

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return self.tokens.vocabulary

    def rows(self, queries: Int32[np.ndarray, "b l"], texts: Int32[np.ndarray, "b l"]) -> Int32[np.ndarray, "b p"]:
        """Rows of pairs, from the tokenizer's rows of both: the opening token of the second text is left out."""
        first = texts[:, 1:] if self._starts is not None else texts
        rows = np.full((len(queries), self.dim), PADDING, dtype=np.int32)
        rows[:, : queries.shape[1]] = queries
        counts = (queries >= 0).sum(1)
        places = counts[:, None] + np.arange(first.shape[1])[None, :]
        np.put_along_axis(rows, places, first, axis=1)
        return rows

    def embed(self, queries: Sequence[str], texts: Sequence[str]) -> Int32[np.ndarray, "b p"]:
        """Rows of pairs of texts."""
        return self.rows(self.tokens.embed(queries), self.tokens.embed(texts))
