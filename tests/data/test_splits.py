"""Training and validation pairs."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.core.errors import DataError
from diptych.core.types import BytesImage, FileImage, Pair, Role, Text
from diptych.data.readers import SourceOptions, open_source
from diptych.data.splits import divide, held_out, held_out_of


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


def grey(folder: Path, name: str, level: int) -> FileImage:
    path = folder / f"{name}.png"
    Image.new("L", (9, 9), level).save(path)
    return FileImage(path)


def test_records_of_one_image_or_one_id_are_on_one_side(tmp_path: Path) -> None:
    made = []
    for number in range(300):
        image = grey(tmp_path, str(number), number % 250)  # all files are of nearly one size
        copy = grey(tmp_path, f"copy-{number}", number % 250)
        held = BytesImage(image.path.read_bytes(), "cell")
        made += [Pair(f"a{number}", (image,)), Pair(f"b{number}", (copy,)), Pair(f"c{number}", (held,))]
        made += [Pair(f"same-{number}", ()), Pair(f"same-{number}", ())]
    chosen = divide(made, "train", "val", 0.3)
    for number in range(300):
        groups = [{f"{letter}{each}" for letter in "abc" for each in (number, (number + 250) % 500) if each < 300}]
        for group in [*groups, {f"same-{number}"}]:
            sides = {side for side, some in chosen.items() for pair in some if pair.id in group}
            assert len(sides) == 1, group
    assert 0.2 < len(chosen["val"]) / len(made) < 0.4
    assert held_out_of(made, 0.3) == held_out_of(list(reversed(made)), 0.3)[::-1]  # whatever the order


def test_images_that_are_gone_are_nobody_elses(tmp_path: Path) -> None:
    gone = [Pair(f"{number}", (FileImage(tmp_path / f"{number}.jpg"),)) for number in range(50)]
    assert held_out_of(gone, 0.5) == [held_out(pair.id, 0.5) for pair in gone]


def test_any_source_has_a_held_out_split(tmp_path: Path) -> None:
    lines = ["image,text"]
    for number in range(60):
        grey(tmp_path, f"{number}", 4 * number)
        lines.append(f"{number}.png,number {number}")
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join(lines))
    wanted = [pair.id for pair in divide(list(open_source(plain)), "train", "val", 0.1)["val"]]
    assert wanted
    assert [pair.id for pair in open_source(plain, SourceOptions(split="held-out"))] == wanted
    named = tmp_path / "named.csv"
    splits = ["split", *("val" if number % 10 == 0 else "train" for number in range(60))]
    named.write_text("\n".join(f"{line},{split}" for line, split in zip(lines, splits, strict=True)))
    assert len(list(open_source(named, SourceOptions(split="held-out")))) == 6  # its own validation records
    own = named.read_text().replace(",val", ",held-out")
    named.write_text(own)
    assert len(list(open_source(named, SourceOptions(split="held-out")))) == 6  # a split of that very name


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


def test_documents_that_only_stand_in_the_gallery_are_in_both_splits():
    document = Pair("d", (), (Text("d", role=Role.DOCUMENT),))
    asked = [
        Pair(str(n), (), (Text(str(n), role=Role.QUERY), Text("d", role=Role.DOCUMENT)), "train") for n in range(30)
    ]
    found = divide([document, *asked], "train", "val", 0.3)
    assert all(pairs[-1] is document for pairs in found.values())
    assert sorted(pair.id for pairs in found.values() for pair in pairs[:-1]) == sorted(pair.id for pair in asked)
