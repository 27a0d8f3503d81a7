from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import DataError, ModelError
from diptych.models.cross_encoder.vocabulary import (
    BACKWARD,
    END,
    FORWARD,
    PAD,
    Vocabulary,
    both_directions,
    learn_pieces,
)

from .conftest import TEXTS


def test_a_text_comes_back_from_its_pieces(words):
    for text in ("a red circle on white", "circle, yellow"):
        assert words.decode(words.encode([text], 20)[0]) == text


def test_what_was_never_seen_is_spelt_or_unknown_but_never_lost(words):
    (pieces,) = words.encode(["a zebra é"], 20)
    assert len(pieces) >= 3


def test_the_words_that_are_known_in_pieces_only_are_told(words):
    assert words.cut("a RED circle, on white!") == ([], 5)
    assert words.cut("ein roter circle!") == (["ein", "roter"], 3)


def test_a_text_is_cut_and_an_empty_one_is_refused(words):
    assert len(words.encode(["a red circle on white"], 3)[0]) == 3
    with pytest.raises(DataError, match="no words"):
        words.encode(["  "], 3)


def test_both_directions_by_hand():
    inputs, targets = both_directions([[7, 8, 9], [5]])
    assert inputs.tolist() == [
        [FORWARD, 7, 8, 9],
        [FORWARD, 5, PAD, PAD],
        [BACKWARD, 9, 8, 7],
        [BACKWARD, 5, PAD, PAD],
    ]
    assert targets.tolist() == [[7, 8, 9, END], [5, END, PAD, PAD], [9, 8, 7, END], [5, END, PAD, PAD]]
    assert np.array_equal(inputs == PAD, targets == PAD)


def test_it_is_kept_in_a_file(words, tmp_path: Path):
    words.write(tmp_path / "tokenizer.json")
    again = Vocabulary.read(tmp_path / "tokenizer.json")
    assert again.encode(["a blue circle"], 9) == words.encode(["a blue circle"], 9)
    assert len(again) == len(words)


def test_a_damaged_file_is_a_model_error(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot read the tokenizer"):
        Vocabulary.read(tmp_path / "tokenizer.json")


def test_words_know_their_pieces(words):
    found = words.words("a red zebra", 20)
    assert [word for word, _ in found] == ["a", "red", "zebra"]
    assert [place for _, places in found for place in places] == list(range(sum(len(places) for _, places in found)))


def test_merging_by_hand():
    # aa: 5 + 2, ab: 3; after merging aa into one piece, "aa" + "b" (2) is next
    found = learn_pieces({"aa": 5, "ab": 3, "aab": 2}, 7)
    assert found == ["a", "##a", "##b", "aa", "ab", "aab"]


def slow_pieces(counts, size):
    """Recount everything after every merge."""
    words = {word: [word[0], *(f"##{letter}" for letter in word[1:])] for word in counts}
    letters = {}
    for word, pieces in words.items():
        for piece in pieces:
            letters[piece] = letters.get(piece, 0) + counts[word]
    found = sorted(letters, key=lambda piece: (-letters[piece], piece))[:size]
    while len(found) < size:
        pairs = {}
        for word, pieces in words.items():
            for pair in itertools.pairwise(pieces):
                pairs[pair] = pairs.get(pair, 0) + counts[word]
        if not pairs:
            break
        pair = min(pairs, key=lambda one: (-pairs[one], one))
        merged = pair[0] + pair[1].removeprefix("##")
        if merged not in found:
            found.append(merged)
        for word, pieces in words.items():
            joined = []
            for piece in pieces:
                if joined and (joined[-1], piece) == pair:
                    joined[-1] = merged
                else:
                    joined.append(piece)
            words[word] = joined
    return found


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), min_size=1, max_size=8),
    st.integers(1, 30),
)
def test_merging_is_that_of_the_obvious_way(counts, size):
    assert learn_pieces(counts, size) == slow_pieces(counts, size)


def package_tokenizer(words, tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with the package, which the [train] extra brings")
    words.write(tmp_path / "tokenizer.json")
    return tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))


def test_texts_are_read_as_the_package_tokenizers_reads_them(words, tmp_path_factory):
    package = package_tokenizer(words, tmp_path_factory.mktemp("tokenizer"))

    @given(
        st.lists(
            st.one_of(
                st.sampled_from([*TEXTS, "A RED", "İ", "ΣΑΣ", "狗 in", "a\u200bb", "\x85"]),
                st.text("rced ,.'#$\n\u3000Ξ犬é", max_size=9),
            )
        )
    )
    def compared(parts):
        text = "".join(parts)
        encoding = package.encode(text)
        if not encoding.ids:
            with pytest.raises(DataError):
                words.encode([text], 99)
            return
        assert words.encode([text], 99) == [encoding.ids[:99]]
        assert words.count([text]) == [len(encoding.ids)]
        assert words.decode(encoding.ids) == package.decode(
            [number for number in encoding.ids if number > END]
        ).replace(" .", ".").replace(" ,", ",").replace(" '", "'")
        spans = {}
        for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
            spans[word] = (spans.get(word, (start, end))[0], end)
        found = [word for word, _ in words.words(text, len(encoding.ids))]
        assert found == [text[start:end] for start, end in spans.values()]

    compared()


def test_a_tokenizer_of_another_kind_is_refused(words, tmp_path: Path):
    words.write(tmp_path / "tokenizer.json")
    text = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace('"lowercase":true', '"lowercase":false'), encoding="utf-8")
    with pytest.raises(ModelError, match="not one of ours"):
        Vocabulary.read(tmp_path / "tokenizer.json")
