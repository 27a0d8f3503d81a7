"""The sampling policy of X-MRS: which texts may stand for which, by hand, and how often, by counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.config import to_dict
from diptych.core.errors import ConfigError, DataError
from diptych.core.types import FileImage, Origin, Pair, Text
from diptych.data.alternatives import LanguagePolicy, TextAlternatives, originals_of

T, B = Origin.TRANSLATED, Origin.BACK_TRANSLATED
TEXTS = [
    Text("a dog", "en", meaning=0),  # 0
    Text("un perro", "es", origin=T, meaning=0),  # 1
    Text("one dog", "en", origin=B, meaning=0, engine="e en-es-en"),  # 2
    Text("a hound", "en", origin=B, meaning=0, engine="e en-ca-en"),  # 3
    Text("un gos", "ca", origin=T, meaning=0),  # 4
    Text("a hat", "en", meaning=1),  # 5
    Text("ein Hut", "de", meaning=1),  # 6
    Text("ein Hund mit Hut", "de"),  # 7: by itself
    Text("a dog", "en", meaning=0),  # 8: another record's
]
OWNER = [0, 0, 0, 0, 0, 0, 0, 0, 1]


def drawn(policy: LanguagePolicy, row: int, times: int = 40_000) -> dict[int, float]:
    rows = TextAlternatives(OWNER, TEXTS, policy).draw(np.full(times, row), np.random.default_rng(0))
    return {int(found): count / times for found, count in Counter(rows.tolist()).items()}


def test_which_texts_stand_for_which():
    found = TextAlternatives(OWNER, TEXTS, LanguagePolicy())
    assert found.originals.tolist() == [0, 5, 7, 8]
    assert found.back_translations(0) == [2, 3]
    assert found.in_other_languages(0) == {"es": [1], "ca": [4]}
    assert found.in_other_languages(5) == {"de": [6]}
    for alone in (7, 8):
        assert (found.back_translations(alone), found.in_other_languages(alone)) == ([], {})


def test_pairs_are_measured_by_their_originals():
    pairs = [Pair("a", (), tuple(TEXTS[:8])), Pair("b", (), tuple(TEXTS[8:]))]
    found = originals_of(pairs, LanguagePolicy())
    assert [text.value for text in found[0].texts] == ["a dog", "a hat", "ein Hund mit Hut"]
    assert found[1] == pairs[1]
    assert originals_of(pairs, None) == pairs


def test_what_the_policy_asks_for_and_the_texts_lack_is_counted():
    def lacking(policy: LanguagePolicy) -> dict[str, int]:
        return {note.kind: note.count for note in TextAlternatives(OWNER, TEXTS, policy).notes()}

    # of the originals 0, 5, 7 and 8 only the first has back-translations, and the first two another language
    assert lacking(LanguagePolicy()) == {"no_back_translation": 3, "no_other_language": 2}
    assert lacking(LanguagePolicy(back=0.0, others=("ca",))) == {"no_other_language": 3}
    assert lacking(LanguagePolicy(back=0.0, other=0.0)) == {}


def test_the_originals_can_be_of_another_language():
    found = TextAlternatives(OWNER, TEXTS, LanguagePolicy(original="de"))
    assert found.originals.tolist() == [0, 6, 7, 8]
    assert found.in_other_languages(6) == {"en": [5]}


def test_the_other_languages_can_be_chosen_and_machines_left_out():
    assert TextAlternatives(OWNER, TEXTS, LanguagePolicy(others=("ca",))).in_other_languages(0) == {"ca": [4]}
    human = TextAlternatives(OWNER, TEXTS, LanguagePolicy(translated=False))
    assert (human.in_other_languages(0), human.in_other_languages(5)) == ({}, {"de": [6]})


def test_captions_in_another_language_that_translate_nothing_stand_for_any_text_of_their_record():
    texts = [
        *TEXTS,
        Text("sombrero", "es", origin=T),  # 9: of the first record, like 7
        Text("un gato", "es"),  # 10: of a record without English
        Text("a hat", "en", origin=T),  # 11: English by a machine, in the first record
    ]
    found = TextAlternatives([*OWNER, 0, 2, 0], texts, LanguagePolicy(original="en", of_record=True))
    assert found.originals.tolist() == [0, 5, 8, 10, 11]
    assert found.in_other_languages(0) == {"es": [1, 9], "ca": [4], "de": [7]}
    assert found.in_other_languages(5) == {"es": [9], "de": [6, 7]}
    assert found.back_translations(5) == []
    assert (found.in_other_languages(8), found.in_other_languages(10)) == ({}, {})
    people = LanguagePolicy(original="en", of_record=True, translated=False)
    assert TextAlternatives([*OWNER, 0, 2, 0], texts, people).in_other_languages(0) == {"de": [7]}
    every = LanguagePolicy(original="en", of_record=True, whole_record=True)
    whole = TextAlternatives([*OWNER, 0, 2, 0], texts, every)
    assert whole.originals.tolist() == found.originals.tolist()
    assert whole.in_other_languages(0) == {"es": [1, 9], "ca": [4], "de": [7, 6]}
    assert whole.in_other_languages(5) == {"es": [9, 1], "de": [6, 7], "ca": [4]}
    assert (whole.back_translations(0), whole.back_translations(5)) == (found.back_translations(0), [])
    with pytest.raises(ConfigError, match='needs the language of the originals, as in original = "en"'):
        LanguagePolicy(of_record=True)
    with pytest.raises(ConfigError, match="set of_record = true as well"):
        LanguagePolicy(original="en", whole_record=True)
    assert "whole_record" not in to_dict(LanguagePolicy())
    assert to_dict(every)["whole_record"] is True


def test_the_shares_are_those_of_the_paper():
    # 1/2 other language (es or ca); of the other half 1/2 back-translated (two of them), 1/2 as it was
    expected = {0: 1 / 4, 2: 1 / 8, 3: 1 / 8, 1: 1 / 4, 4: 1 / 4}
    found = drawn(LanguagePolicy(), 0)
    assert found.keys() == expected.keys()
    for row, share in expected.items():
        assert found[row] == pytest.approx(share, abs=0.01)


def test_languages_are_alike_likely_however_many_texts_they_have():
    texts = [*TEXTS[:8], Text("perro", "es", origin=T, meaning=0)]
    found = TextAlternatives([0] * 9, texts, LanguagePolicy(other=1.0))
    shares = Counter(found.draw(np.zeros(40_000, dtype=np.int64), np.random.default_rng(0)).tolist())
    assert shares[4] / 40_000 == pytest.approx(1 / 2, abs=0.01)
    assert shares[1] / 40_000 == pytest.approx(1 / 4, abs=0.01)


@pytest.mark.parametrize(
    ("policy", "row", "expected"),
    [
        (LanguagePolicy(back=0, other=0), 0, {0: 1.0}),
        (LanguagePolicy(back=1, other=0), 0, {2: 0.5, 3: 0.5}),
        (LanguagePolicy(back=1, other=1), 5, {6: 1.0}),
        (LanguagePolicy(back=1, other=0), 5, {5: 1.0}),
        (LanguagePolicy(back=1, other=1), 7, {7: 1.0}),
    ],
)
def test_the_extremes(policy, row, expected):
    assert drawn(policy, row) == pytest.approx(expected, abs=0.01)


@given(rows=st.lists(st.sampled_from([0, 5, 7, 8]), max_size=20), seed=st.integers(0, 2**32 - 1))
def test_a_draw_keeps_record_and_meaning_and_moves_the_generator_alike(rows, seed):
    alternatives = TextAlternatives(OWNER, TEXTS, LanguagePolicy())
    batch = np.array(rows, dtype=np.int64)
    generator, again = np.random.default_rng(seed), np.random.default_rng(seed)
    found = alternatives.draw(batch, generator)
    assert [(OWNER[row], TEXTS[row].meaning) for row in rows] == [(OWNER[row], TEXTS[row].meaning) for row in found]
    assert batch.tolist() == rows  # not changed in place
    assert (found == alternatives.draw(batch, again)).all()
    plain = np.random.default_rng(seed)
    TextAlternatives(OWNER, TEXTS, LanguagePolicy(back=0, other=0)).draw(batch, plain)
    assert plain.bit_generator.state == generator.bit_generator.state


def test_texts_of_pairs_are_numbered_one_after_the_other(tmp_path):
    image = FileImage(tmp_path / "a.jpg")
    pairs = [Pair("one", (image,), tuple(TEXTS[:8])), Pair("two", (image,), (TEXTS[8],))]
    one, other = TextAlternatives.of_pairs(pairs, LanguagePolicy()), TextAlternatives(OWNER, TEXTS, LanguagePolicy())
    assert (one.originals == other.originals).all()
    assert [one.back_translations(row) for row in range(9)] == [other.back_translations(row) for row in range(9)]


def test_parts_of_a_recipe_with_one_number_are_not_mixed_up():
    texts = [Text("汤", "zh", "title", meaning=0), Text("water", "en", "ingredients", T, meaning=0)]
    found = TextAlternatives([0, 0], texts, LanguagePolicy())
    assert found.in_other_languages(0) == {}


def test_without_any_alternative_every_text_is_itself():
    found = TextAlternatives([0, 0], [Text("a"), Text("b")], LanguagePolicy(1.0, 1.0))
    assert found.draw(np.array([1, 0]), np.random.default_rng(0)).tolist() == [1, 0]


def test_wrong_values_are_refused():
    with pytest.raises(ConfigError, match=r"other must be a probability from 0 to 1, found 1\.5"):
        LanguagePolicy(other=1.5)
    with pytest.raises(DataError, match="1 owners of 2 texts"):
        TextAlternatives([0], [Text("a"), Text("b")], LanguagePolicy())


def test_many_texts_take_time_in_proportion():
    count = 4_000  # minutes, not a second, where each text costs time in proportion to all
    texts = [text for number in range(count) for text in TEXTS[:5]]
    owner = [number for number in range(count) for _ in range(5)]
    found = TextAlternatives(owner, texts, LanguagePolicy(other=1.0))
    rows = found.draw(found.originals, np.random.default_rng(0))
    assert (rows // 5 == np.arange(count)).all()
    assert set((rows % 5).tolist()) == {1, 4}
