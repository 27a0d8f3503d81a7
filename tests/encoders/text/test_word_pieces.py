"""WordPiece without the package `tokenizers`: the same tokens, words and fingerprint as with it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers", reason="compares with the package, which the [tokens] extra brings")

from diptych.core.errors import MissingExtraError  # noqa: E402
from diptych.encoders.text.tokens import TokenTower, read_tokens, train_tokenizer  # noqa: E402
from diptych.encoders.text.word_pieces import WordPieces  # noqa: E402

TEXTS = [
    "A dog runs through the snow.", "Zwei Mädchen laufen über eine Straße!", "žena za rolovací stěnou si píše",
    "雪の中を走る犬", "カメラを持つ女性がグラウンドにいる", "一只狗在雪地里奔跑。", "बर्फ में दौड़ता हुआ कुत्ता",
    "собака біжить по снігу", "كلب يركض في الثلجِ", "ΣΑΣ λύκος", "the cat's bowl - 3,5 $",
]  # fmt: skip


@pytest.fixture(params=[True, False], ids=["lower", "as-written"])
def towers(request, tmp_path: Path, monkeypatch) -> tuple[TokenTower, TokenTower]:
    """One tower with the package, and the same one without it."""
    made = train_tokenizer(TEXTS, "wordpiece", min_count=1, vocabulary=300, lower_case=request.param)
    TokenTower(made, 12, ["en"]).save(tmp_path)
    with_package = read_tokens(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    without = read_tokens(tmp_path)
    assert isinstance(without._tokenizer, WordPieces)
    return with_package, without


def test_texts_are_read_as_the_package_reads_them(towers) -> None:
    with_package, without = towers
    assert without.fingerprint == with_package.fingerprint
    assert (without.vocabulary, without.word_ids) == (with_package.vocabulary, with_package.word_ids)
    assert np.array_equal(without.embed([*TEXTS, ""]), with_package.embed([*TEXTS, ""]))

    letters = st.sampled_from(
        [*"aeÉßçİ žяґΣ犬のがカー゛कि्َ.,'#-$\n\u3000\u200b\u0301\u0308", "ー" * 70, "q" * 130, *TEXTS]
    )

    @given(st.lists(letters, max_size=9).map("".join))
    def compared(text: str) -> None:
        assert np.array_equal(without.embed([text]), with_package.embed([text]))
        assert without.count_tokens([text]) == with_package.count_tokens([text])
        assert without.words(text) == with_package.words(text)

    compared()


def test_words_are_those_that_the_text_has(towers) -> None:
    text = "Zwei Mädchen, žena"
    expected = [
        ("Zwei", ["zwei"]), ("Mädchen", ["madchen"]), (",", [","]), ("žena", ["zena"])
    ]  # fmt: skip
    for tower in towers:
        tokens = tower.words(text)
        found = [
            (word, "".join(tokens[place] for place in places).replace("##", ""))
            for word, places in tower.word_places(text)
        ]
        lower = [(word, pieces[0]) for word, pieces in expected]
        assert found == (lower if "zwei" in "".join(tokens).replace("##", "") else [(word, word) for word, _ in lower])


def test_saved_again_it_is_the_same(towers, tmp_path: Path) -> None:
    _, without = towers
    again = tmp_path / "again"
    again.mkdir()
    without.save(again)
    assert read_tokens(again).fingerprint == without.fingerprint


def test_another_kind_needs_the_package(tmp_path: Path, monkeypatch) -> None:
    TokenTower(train_tokenizer(TEXTS, "words", min_count=1), 12).save(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match="tokenizers"):
        read_tokens(tmp_path)
