"""Pairs to ask about: what their sides are, and lists of them in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Notes
from diptych.core.types import Skipped
from diptych.data.pair_list import asked, read_pairs


def read(path: Path, kind: str | None = None) -> tuple[list[Any], list[Skipped]]:
    skipped: list[Skipped] = []
    return read_pairs(path, kind, skipped, Notes()), skipped


def test_a_side_is_an_image_where_it_names_one(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    assert asked("dog.jpg", "a dog").kind == "image-text"
    turned = asked("a dog", "dog.JPG")
    assert (turned.kind, turned.left, turned.right) == ("image-text", Path("dog.JPG"), "a dog")
    assert asked("a", "b").kind == "text-text"
    assert asked("a.png", b"bytes").kind == "image-image"
    assert asked("plain", "b", folder=tmp_path).left == tmp_path / "plain"  # it names a file
    assert asked("plain", "b.jpg", "text-text", tmp_path).right == "b.jpg"  # told
    assert asked(b"encoded", "b").kind == "image-text"


@pytest.mark.parametrize("text", ["", " \u200b", "half \ud83d"])
def test_a_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        asked("a.jpg", text)


def test_an_unknown_kind_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="choose from image-text, text-text, image-image"):
        asked("a", "b", "text-image")


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("image,caption", "a.jpg,a dog", "image-text"),
        ("Text1;Text2", "one;two", "text-text"),
        ("sentence_a\tsentence_b", "one\ttwo", "text-text"),
        ("image1,image2", "a.jpg,b.jpg", "image-image"),
        ("left,right", "a.jpg,two", "image-text"),
        ("right,left", "one,two", "text-text"),
    ],
)
def test_the_columns_of_a_table_say_what_the_pairs_are(tmp_path: Path, header: str, row: str, kind: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"{header}\n{row}\n")
    (pair,), skipped = read(path)
    assert (pair.kind, pair.label, skipped) == (kind, None, [])
    assert pair.where == f"{path}:2"


def test_rows_that_cannot_be_read_are_named_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('image,text,label\na.jpg,"one, two\nlines",1\nb.jpg,x,maybe\nb.jpg,,0\nb.jpg\n\nb.jpg,y,No\n')
    found, skipped = read(path)
    assert [(pair.left, pair.right, pair.label) for pair in found] == [
        (tmp_path / "a.jpg", "one, two\nlines", True),
        (tmp_path / "b.jpg", "y", False),
    ]
    assert [(one.name.rpartition(":")[2], one.detail.split(";")[0]) for one in skipped] == [
        ("4", "the label 'maybe' is neither 1 nor 0 (true, false, yes, no)"),
        ("5", "a text is empty"),
        ("6", "1 cells where the header has 3"),
    ]


def test_json_lines_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"text1": "a", "text2": "b", "label": True}, {"image": "a.jpg", "text": "c", "label": 0}, [1], {"x": 1}]
    path.write_text("\n".join([*map(json.dumps, rows), "{broken"]))
    found, skipped = read(path)
    assert [(pair.kind, pair.label) for pair in found] == [("text-text", True), ("image-text", False)]
    assert [one.name.rpartition(":")[2] for one in skipped] == ["3", "4", "5"]
    assert "expected image and text" in skipped[1].detail


def test_files_that_hold_no_pairs_say_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,age\nx,1\n")
    with pytest.raises(DataError, match="columns found: name, age; expected image and text"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match="holds no pair"):
        read(tmp_path / "b.jsonl")
    (tmp_path / "c.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"ends in \.csv, \.tsv or \.jsonl"):
        read(tmp_path / "c.parquet")
    with pytest.raises(DataError, match="cannot open"):
        read(tmp_path / "none.csv")
