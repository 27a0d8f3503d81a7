from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.data.features import text_rows
from diptych.encoders.fake import FakeTextTower
from diptych.synthesis.words import CachedTexts, embed_texts, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red, red apple!", ["a", "red", "red", "apple"]),
        ("don't look-back", ["don't", "look", "back"]),
        ("grüner Apfel", ["grüner", "apfel"]),
        ("红色的苹果", list("红色的苹果")),
        ("赤いApple 2個", ["赤", "い", "apple", "2", "個"]),
        ("แอปเปิ้ล", ["แ", "อ", "ป", "เ", "ปิ้", "ล"]),  # vowel and tone marks stay with their consonant
        ("사과 한 개", ["사과", "한", "개"]),
        ("красное яблоко", ["красное", "яблоко"]),
        ("?!…", []),
        ("", []),
    ],
)
def test_words_of_many_writings(text, words):
    assert split_words(text) == words


@given(st.text(max_size=40))
def test_any_text_has_words_without_spaces(text):
    assert all(word and not any(character.isspace() for character in word) for word in split_words(text))


def test_words_are_the_towers_own_features_and_padding_is_zero():
    tower = FakeTextTower()
    found = embed_texts(["a red circle", "circle", "?"], tower, 2)
    assert found.mask.tolist() == [[True, True], [True, False], [True, False]]
    assert np.allclose(found.words[0, 1], tower.embed(["red"])[0], atol=1e-3)
    assert np.allclose(found.words[1, 0], found.sentence[1], atol=1e-6)
    assert not found.words[1, 1].any()
    assert np.allclose(found.words[2, 0], tower.embed(["?"])[0], atol=1e-3)  # a text without words is one itself


def test_cached_texts_are_what_embedding_them_gives(tmp_path):
    from diptych.core.protocols import SILENT

    tower = FakeTextTower()
    texts = ["a red circle", "blue", "a blue stripe in red", "blue"]
    cached = CachedTexts.collect(texts, text_rows(texts, tower, tmp_path, SILENT), tower, tmp_path, 3)
    rows = np.array([2, 1, 3])
    found, wanted = cached[rows], embed_texts([texts[row] for row in rows], tower, 3)
    assert np.array_equal(found.mask, wanted.mask)
    assert np.array_equal(found.sentence, wanted.sentence)
    assert np.array_equal(found.words, wanted.words)
    assert cached[np.array([1])].mask.shape == (1, 1)  # columns that nobody needs are left out


def test_a_generator_without_words_reads_sentences_alone(tmp_path):
    from diptych.core.protocols import SILENT

    tower = FakeTextTower()
    texts = ["a", "b c"]
    cached = CachedTexts.collect(texts, text_rows(texts, tower, tmp_path, SILENT), tower, tmp_path, 0)
    for found in (cached[np.array([0, 1])], embed_texts(texts, tower, 0)):
        assert found.mask.all()
        assert found.words.shape == (2, 1, 32)
        assert not found.words.any()
