"""Tokenizers as towers: rows of ids with -1 behind, the same after saving."""

from pathlib import Path

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers", reason="needs the [tokens] extra")

from diptych.core.errors import ConfigError, DataError, ModelError  # noqa: E402
from diptych.encoders.text.tokens import TokenTower, read_tokens, train_tokenizer  # noqa: E402

TEXTS = ["A dog runs.", "a dog sleeps", "The CAT runs, runs!", "the cat's bowl", "der Hund läuft", "der Hund schläft"]


def words(**options: int | bool) -> TokenTower:
    return TokenTower(train_tokenizer(TEXTS, "words", **options), max_tokens=6, languages=["en", "de"])


def test_words_are_numbered_by_how_often_they_occur_and_rare_ones_are_unknown() -> None:
    tower = words()
    rows = tower.embed(["dog dog zebra", ""])
    dog = rows[0, 0]
    assert rows.shape == (2, 6)
    assert rows.dtype == np.int32
    assert rows[0].tolist() == [dog, dog, 0, -1, -1, -1]  # zebra was never seen
    assert rows[1].tolist() == [0, -1, -1, -1, -1, -1]  # an empty text is one unknown word
    assert 0 < dog < tower.vocabulary
    assert tower.embed(["sleeps"])[0, 0] == 0  # seen once, min_count is 2
    assert words(min_count=1).embed(["sleeps"])[0, 0] > 0


def test_case_and_punctuation_are_dropped_but_not_apostrophes_and_accents() -> None:
    tower = words(min_count=1)
    assert tower.words("The, cat's… LÄUFT") == ["the", "cat's", "läuft"]
    kept = words(min_count=1, lower_case=False)
    assert kept.words("CAT cat") == ["CAT", "[UNK]"]


def test_long_texts_are_cut_and_counted_whole() -> None:
    tower = words()
    long = "dog " * 50
    assert (tower.embed([long]) > 0).all()
    assert tower.count_tokens([long, "a dog"]) == [50, 2]


def test_word_pieces_stand_between_their_markers_also_when_cut() -> None:
    tower = TokenTower(train_tokenizer(TEXTS, "wordpiece", min_count=1, vocabulary=60), max_tokens=5)
    short = tower.words("dog")
    assert (short[0], short[-1]) == ("[CLS]", "[SEP]")
    cut = tower.words("the cat runs and the dog sleeps")
    assert (cut[0], cut[-1], len(cut)) == ("[CLS]", "[SEP]", 5)
    assert tower.embed([""])[0].tolist() == [1, 2, -1, -1, -1]


def test_word_pieces_are_the_same_in_every_run_and_the_frequent_ones_come_first() -> None:
    texts = ["ab ab ab", "abc", "xyz"]
    made = [train_tokenizer(texts, "wordpiece", min_count=2).get_vocab() for _ in range(5)]
    # letters by their number, then a with b, which are together four times; b with c only once
    ordered = ["[UNK]", "[CLS]", "[SEP]", "##b", "a", "##c", "##y", "##z", "x", "ab"]
    assert made == [{piece: number for number, piece in enumerate(ordered)}] * 5


def test_word_pieces_of_scripts_without_spaces_and_the_marks_that_tell_words_apart() -> None:
    texts = ["海边一只狗", "犬がビーチを走る", "犬かビ", "कुत्ता में", "สุนัขวิ่ง" * 20, "Käse, й", "الْكَلب"]
    tower = TokenTower(train_tokenizer(texts * 2, "wordpiece", vocabulary=200), max_tokens=40)
    assert tower.words("海边一只狗")[1:-1] == ["海", "边", "一", "只", "狗"]
    assert tower.words("犬がビーチを走る")[1:-1] == ["犬", "が", "ビーチ", "を", "走", "る"]
    assert tower.words("かが")[1:-1] == ["[UNK]"]  # never seen within a word
    assert tower.words("कुत्ता में")[1:-1] == ["कुत्ता", "में"]
    assert "[UNK]" not in tower.words(texts[4])  # 180 letters
    assert tower.words("KASE Й الكلب")[1:-1] == ["kase", "и", "الكلب"]
    cased = TokenTower(train_tokenizer(texts * 2, "wordpiece", lower_case=False), max_tokens=40)
    assert cased.words("Käse")[1:-1] == ["Käse"]


def test_words_know_the_places_of_their_pieces() -> None:
    made = train_tokenizer(["a red circle", "the reddest one", "红色的狗"] * 3, "wordpiece", min_count=1)
    tower = TokenTower(made, 10)
    # [CLS] a red ##de ##r circle [UNK] 红 狗 [SEP]: the rest is cut
    assert tower.words("A  redder\ncircle, 红狗 more")[1:-1] == [
        "a",
        "red",
        "##de",
        "##r",
        "circle",
        "[UNK]",
        "红",
        "狗",
    ]
    wanted = [("A", [1]), ("redder", [2, 3, 4]), ("circle", [5]), (",", [6]), ("红", [7]), ("狗", [8])]
    assert tower.word_places("A  redder\ncircle, 红狗 more") == wanted
    assert [one.word_places("a dog") for one in (words(), TokenTower(made, 2))] == [[("a", [0]), ("dog", [1])], []]


def test_a_saved_tower_is_the_same_tower(tmp_path: Path) -> None:
    tower = words()
    tower.save(tmp_path)
    again = read_tokens(tmp_path)
    assert again.fingerprint == tower.fingerprint
    assert again.languages == {"de", "en"}
    assert np.array_equal(again.embed(TEXTS), tower.embed(TEXTS))


def test_the_fingerprint_tells_vocabularies_and_lengths_apart() -> None:
    towers = [TokenTower(train_tokenizer(TEXTS), length) for length in (6, 7)]
    assert len({*(tower.fingerprint for tower in towers), words(min_count=1).fingerprint}) == 3


def test_the_vocabulary_is_bounded() -> None:
    assert words(vocabulary=10, min_count=1).vocabulary == 10


def test_strange_texts_give_ids() -> None:
    rows = words().embed(["\ud800 dog", "\0", "🐶" * 1000, "a\tdog\n"])
    assert (rows[:, 0] >= 0).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "wrods"}, ConfigError, "unknown tokenizer 'wrods'.*did you mean 'words'"),
        ({"vocabulary": 3}, ConfigError, "vocabulary must be at least 10"),
        ({"min_count": 100}, DataError, "no word occurs 100 times"),
    ],
)
def test_what_cannot_be_trained(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train_tokenizer(TEXTS, **options)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer at .*tokenizer\.json"):
        TokenTower(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="is no tokenizer"):
        TokenTower(tmp_path)
    with pytest.raises(ModelError, match="is no tokenizer of a Diptych model"):
        read_tokens(tmp_path)
    with pytest.raises(ConfigError, match="max_tokens must be at least 2"):
        TokenTower(train_tokenizer(TEXTS), max_tokens=1)
