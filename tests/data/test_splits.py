"""Training and validation pairs."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import DataError
from diptych.core.types import Pair
from diptych.data.splits import divide, held_out


def pairs(*splits: str | None) -> list[Pair]:
    return [Pair(str(number), (), (), split) for number, split in enumerate(splits)]


def ids(chosen: dict[str, list[Pair]]) -> dict[str, list[str]]:
    return {name: [pair.id for pair in some] for name, some in chosen.items()}


def test_the_sources_own_splits() -> None:
    assert ids(divide(pairs("train", "val", "test", "train"), "train", "val", 0.5)) == {
        "train": ["0", "3"],
        "val": ["1"],
    }


def test_other_names() -> None:
    assert ids(divide(pairs("a", "b", "a"), "a", "b", 0.5)) == {"train": ["0", "2"], "val": ["1"]}


def test_without_splits_a_hash_of_the_id_decides() -> None:
    chosen = divide(pairs(*[None] * 2000), "train", "val", 0.1)
    assert sorted(ids(chosen)["train"] + ids(chosen)["val"], key=int) == [str(n) for n in range(2000)]
    assert 150 < len(chosen["val"]) < 250
    assert all(held_out(pair.id, 0.1) for pair in chosen["val"])
    again = divide(pairs(*[None] * 2500), "train", "val", 0.1)
    assert set(ids(chosen)["val"]) <= set(ids(again)["val"])  # new records move no old one


def test_a_source_of_training_pairs_gives_its_validation_pairs_and_keeps_test_out() -> None:
    chosen = divide(pairs(*["train"] * 500, *["test"] * 500), "train", "val", 0.2)
    assert {pair.split for some in chosen.values() for pair in some} == {"train"}
    assert len(chosen["train"]) + len(chosen["val"]) == 500


@given(st.text(), st.floats(0.01, 0.98))
def test_a_larger_share_only_adds(identity: str, share: float) -> None:
    assert held_out(identity, 1.0)
    assert not held_out(identity, 0.0)
    assert held_out(identity, share + 0.01) or not held_out(identity, share)


def test_ids_that_are_not_utf8() -> None:
    assert held_out(os.fsdecode(b"caf\xe9"), 0.5) in (True, False)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("val", "val"), r"no train pairs: looked for split 'train', found val \(2\); set data.train"),
        (("test",), r"no train pairs: .* found test \(1\)"),
        ((), "found none"),
        ((None,), r"found no split \(1\)"),
    ],
)
def test_an_empty_side_is_an_error_that_lists_what_is_there(splits: tuple[str | None, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        divide(pairs(*splits), "train", "val", 0.1)
