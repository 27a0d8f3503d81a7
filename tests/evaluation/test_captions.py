from __future__ import annotations

import math

import pytest

from diptych.core.errors import DataError
from diptych.evaluation.captions import bleu4, cider, words_of

pytest.importorskip("sacrebleu", reason="needs the [captions] extra")
pytest.importorskip("pycocoevalcap", reason="needs the [captions] extra")


def test_words():
    assert words_of("A dog's ball, on  the Beach .") == "a dog's ball on the beach"


def test_bleu_by_hand():
    caption = "a dog runs on the beach"
    references = [["A brown dog runs on the beach .", "a dog runs by the sea"]]
    # 1-grams 6/6, 2-grams: "a dog", "dog runs", "runs on", "on the", "the beach" 5/5,
    # 3-grams: "a dog runs", "dog runs on", "runs on the", "on the beach" 4/4,
    # 4-grams: "dog runs on the", "runs on the beach" of 3; length 6 against the nearer reference of 6
    assert bleu4([caption], references) == pytest.approx(100 * math.exp(math.log(2 / 3) / 4), abs=0.01)


def test_perfect_captions_are_100_and_strangers_0():
    references = [["a dog runs on the beach", "x"], ["two men play a guitar"]]
    assert bleu4(["a dog runs on the beach", "two men play a guitar"], references) == pytest.approx(100, abs=1e-6)
    assert bleu4(["qq ww ee rr", "tt zz uu ii"], references) == 0
    better = cider(["a dog runs on the beach", "two men play a guitar"], references)
    worse = cider(["two men play a guitar", "a dog runs on the beach"], references)
    assert better > 3
    assert worse == pytest.approx(0, abs=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="2 captions for 1"):
        bleu4(["a", "b"], [["a"]])
    with pytest.raises(DataError, match="no reference"):
        cider(["a"], [[]])
