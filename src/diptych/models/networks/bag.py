"""Bag of words: the mean of the words' vectors."""

from __future__ import annotations

from torch import Tensor, nn

from diptych.core.registry import register
from diptych.core.shapes import Float, Int
from diptych.models.networks.base import mask_of, trim_padding
from diptych.models.networks.word_vectors import WordNetwork


@register.network("bag")
class BagOfWords(WordNetwork):
    """f(y) = 1/|y| * sum_w e_w over the tokens w of a text; padding has no part in it.

    The simplest text tower of "Thinking Fast and Slow" (arXiv 2103.16553), section 3.1.

    Args:
        vocabulary: how many token ids there are.
        width: of a word's vector, and of the features.
        dropout: share of the features dropped in training.
        vectors: a file of word vectors to begin with, of this width; see `WordNetwork`.
    """

    any_length = True

    def __init__(self, vocabulary: int, *, width: int = 512, dropout: float = 0.1, vectors: str = "") -> None:
        super().__init__(vocabulary, width, vectors)
        self.dim = width
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b f"]:
        """Mean word vectors of rows of token ids (-1 is padding)."""
        ids = trim_padding(rows)
        kept = mask_of(ids).unsqueeze(-1).to(self.words.weight.dtype)
        vectors = self._vectors(ids) * kept
        mean: Tensor = self.dropout(vectors.sum(1) / kept.sum(1).clamp(min=1))
        return mean
