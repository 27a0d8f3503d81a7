"""Fingerprints: stable, and different for different content."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from diptych.core import fingerprint

texts = st.text(st.characters(codec=None))  # with lone surrogates, as in file names that are not UTF-8


def test_a_fixed_value_so_that_no_version_changes_them_unnoticed() -> None:
    assert fingerprint.of_bytes(b"a", b"bc") == "f14abc19c330e936bb9c8506d69bac9b"


@given(st.lists(st.binary(max_size=4)), st.lists(st.binary(max_size=4)))
def test_parts_are_told_apart(left: list[bytes], right: list[bytes]) -> None:
    assert (fingerprint.of_bytes(*left) == fingerprint.of_bytes(*right)) == (left == right)


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_strings_are_told_apart_whatever_they_hold(left: list[str], right: list[str]) -> None:
    assert (fingerprint.combined(left) == fingerprint.combined(right)) == (left == right)
    assert (fingerprint.of_json(left) == fingerprint.of_json(right)) == (left == right)


def test_the_order_of_keys_does_not_count() -> None:
    assert fingerprint.of_json({"a": 1, "b": [2]}) == fingerprint.of_json({"b": [2], "a": 1})
    assert fingerprint.of_json({"a": 1}) != fingerprint.of_json({"a": 2})


def test_a_file_is_its_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x" * 3_000_000)
    two.write_bytes(b"x" * 3_000_000)
    assert fingerprint.of_file(one) == fingerprint.of_file(two)
    two.write_bytes(b"x" * 2_999_999 + b"y")
    assert fingerprint.of_file(one) != fingerprint.of_file(two)


def test_a_view_counts_its_bytes() -> None:
    assert fingerprint.of_bytes(memoryview(b"abc")) == fingerprint.of_bytes(b"abc")
