from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.data.features import text_rows
from diptych.encoders.fake import FakeTextTower
from diptych.synthesis.words import (
    ALONE,
    IN_CONTEXT,
    WAYS,
    CachedTexts,
    check_words,
    embed_texts,
    split_words,
    words_read,
)


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


def test_cached_words_in_context_are_what_embedding_their_texts_gives(tmp_path, small_bert, monkeypatch):
    from diptych.core.protocols import SILENT
    from diptych.encoders import text_tower

    tower = text_tower(f"hf:{small_bert}", device="cpu")
    texts = ["a red circle", "circle in red, a", "", "a red circle", "a blue stripe in red"]

    def collected(most):
        return CachedTexts.collect(
            texts, text_rows(texts, tower, tmp_path, SILENT), tower, tmp_path, most, way=IN_CONTEXT
        )

    rows = np.array([4, 1, 2, 3])
    found, wanted = collected(4)[rows], embed_texts([texts[row] for row in rows], tower, 4, IN_CONTEXT)
    assert (
        found.mask.tolist()
        == wanted.mask.tolist()
        == [[True] * 4, [True] * 4, [True, *[False] * 3], [True] * 3 + [False]]
    )
    assert np.allclose(found.words, wanted.words, atol=2e-3)
    assert np.allclose(found.sentence, wanted.sentence, atol=2e-3)
    cached = collected(9)
    asked = []
    monkeypatch.setattr(type(tower), "embed_words", lambda *given: asked.append(given))
    assert np.array_equal(collected(2)[rows].words, cached[rows].words[:, :2])  # all of it is in the cache
    assert not asked


def test_the_state_of_a_word_depends_on_its_text(small_bert):
    from diptych.encoders import text_tower

    tower = text_tower(f"hf:{small_bert}", device="cpu")
    texts = ["red circle", "red stripe"]
    alone, in_context = (embed_texts(texts, tower, 2, way).words[:, 0] for way in WAYS)
    assert np.array_equal(alone[0], alone[1])
    assert np.abs(in_context[0] - in_context[1]).max() > 1e-3
    assert words_read("red circle, 7", tower, IN_CONTEXT) == ["red", "circle", ",", "[UNK]"]
    assert words_read("red circle, 7", tower, ALONE) == ["red", "circle", "7"]


def test_towers_without_states_of_words_are_refused():
    with pytest.raises(ConfigError, match=r"the text tower 'fake' gives none; choose hf:NAME_OR_FOLDER"):
        check_words(IN_CONTEXT, FakeTextTower(), "fake")
    check_words(ALONE, FakeTextTower(), "fake")


def test_a_generator_without_words_reads_sentences_alone(tmp_path):
    from diptych.core.protocols import SILENT

    tower = FakeTextTower()
    texts = ["a", "b c"]
    cached = CachedTexts.collect(texts, text_rows(texts, tower, tmp_path, SILENT), tower, tmp_path, 0)
    for found in (cached[np.array([0, 1])], embed_texts(texts, tower, 0)):
        assert found.mask.all()
        assert found.words.shape == (2, 1, 32)
        assert not found.words.any()
