"""Two texts as one row: by hand, and with tokenizers that do not say where a text ends."""

import numpy as np
import pytest

from diptych.core.errors import ConfigError
from diptych.encoders.text.tokens import TokenTower, train_tokenizer
from diptych.models.text_cross_encoder import PairTokens

TEXTS = ["a dog runs", "a cat sits", "the dog sits"]


def test_a_row_is_both_texts_with_one_opening_token() -> None:
    tokens = TokenTower(train_tokenizer(TEXTS, "wordpiece", min_count=1), 6)
    pairs = PairTokens(tokens)
    (row,) = pairs.embed(["a dog"], ["cat sits"])
    ids = {word: tokens._tokenizer.token_to_id(word) for word in ("[CLS]", "[SEP]", "a", "dog", "cat", "sits")}
    named = [ids[word] for word in ("[CLS]", "a", "dog", "[SEP]", "cat", "sits", "[SEP]")]
    assert row.tolist() == [*named, *[-1] * 5]
    assert (pairs.dim, pairs.vocabulary) == (12, tokens.vocabulary)


def test_both_texts_are_cut_and_keep_their_last_token() -> None:
    tokens = TokenTower(train_tokenizer(TEXTS, "wordpiece", min_count=1), 4)
    (row,) = PairTokens(tokens).embed(["a dog runs runs runs"], ["the dog sits sits"])
    words = [tokens._tokenizer.id_to_token(int(number)) for number in row if number >= 0]
    assert words == ["[CLS]", "a", "dog", "[SEP]", "the", "dog", "[SEP]"]


def test_words_without_a_closing_token_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'set text\.tower = "wordpiece"'):
        PairTokens(TokenTower(train_tokenizer(TEXTS, "words", min_count=1), 6))


def test_no_pairs_are_no_rows() -> None:
    pairs = PairTokens(TokenTower(train_tokenizer(TEXTS, "wordpiece", min_count=1), 6))
    assert pairs.embed([], []).shape == (0, 12)
    assert np.issubdtype(pairs.embed([], []).dtype, np.int32)
