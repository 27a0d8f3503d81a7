"""Any string becomes one that can be encoded and tokenised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.encoders.text.clean import clean


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", ""),
        (" \t\r\n\u3000 ", ""),
        ("  two \n\n words\t", "two words"),
        ("a\0b", "ab"),
        ("\ud800x", "\ufffdx"),
        ("x\udc00", "x\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("cafe\u0301", "café"),
        ("日本\u3000語", "日本 語"),
    ],
)
def test_by_hand(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@given(st.text(st.characters(codec=None)))
def test_clean_text_encodes_and_stays(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned
