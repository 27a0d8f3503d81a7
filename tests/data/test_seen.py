"""What a model was trained on is found again wherever it lies, and models are measured on the rest."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import DataError, ModelError
from diptych.core.types import Pair, Role, Text
from diptych.data.readers import SourceOptions, open_source
from diptych.data.seen import (
    FILE,
    Chosen,
    Learner,
    Seen,
    as_marks,
    marks_of,
    read_seen,
    trained_among,
    untrained,
    value_marks,
)

COUNT, HELD = 20, (3, 7, 11)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 greys with a text each, without splits."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        Image.new("L", (8, 8), 10 * number).save(folder / f"{number}.png")
    rows = [{"image": f"{number}.png", "text": f"grey {number}"} for number in range(COUNT)]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def learner(source: Path) -> Learner:
    """A model whose run held out three of them."""
    marks = [marks_of(pair) for pair in open_source(source)]
    of = {
        held: as_marks(m for n, each in enumerate(marks) if (n in HELD) is held for m in each) for held in (True, False)
    }
    return Learner("mine", Seen(of[False], of[True]))


def measured(source: Path, learners: list[Learner], split: str | None = None) -> tuple[list[str], dict[str, int]]:
    chosen = untrained(open_source(source, SourceOptions(split=split)), learners)
    texts = [text.value.removeprefix("grey ") for pair in chosen for text in pair.texts]
    return texts, {note.kind: note.count for note in chosen.notes}


def test_its_own_source_is_measured_where_training_held_it_out(source: Path, learner: Learner) -> None:
    for split in (None, "held-out"):
        texts, notes = measured(source, [learner], split)
        assert texts == ["3", "7", "11"]
        assert notes == {"held_out": 3, "trained_on": 17}


def test_moved_renamed_rewritten_and_grown_it_is_the_same(source: Path, learner: Learner, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(source.parent, moved)
    for number in range(COUNT):
        (moved / f"{number}.png").rename(moved / f"photo {number:03}.png")
    for number in range(100, 104):
        Image.new("L", (9, 9), number).save(moved / f"photo {number}.png")
    lines = [f"{n},photo {n:03}.png,grey {n}" for n in (*range(100, 104), *reversed(range(COUNT)))]
    table = moved / "table.csv"
    table.write_text("number,image,text\n" + "\n".join(lines))
    texts, notes = measured(table, [learner])
    assert texts == ["11", "7", "3"]
    assert notes == {"held_out": 3, "trained_on": 17, "others": 4}


def test_images_that_were_scaled_are_known_by_id_and_texts(source: Path, learner: Learner) -> None:
    for path in source.parent.glob("*.png"):
        with Image.open(path) as image:
            image.resize((5, 5)).save(path)
    assert measured(source, [learner])[0] == ["3", "7", "11"]


def test_a_named_split_and_a_source_without_held_out_records_say_what_was_trained(
    source: Path, learner: Learner
) -> None:
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    split = source.with_name("split.jsonl")
    named = [row | {"split": "test" if n < 5 else "train"} for n, row in enumerate(rows)]
    split.write_text("".join(json.dumps(row) + "\n" for row in named))
    texts, notes = measured(split, [learner], "test")
    assert texts == ["0", "1", "2", "3", "4"]
    assert notes == {"trained_on": 4}
    only = source.with_name("only.jsonl")
    only.write_text("".join(json.dumps(row) + "\n" for n, row in enumerate(rows) if n not in HELD))
    texts, notes = measured(only, [learner])
    assert len(texts) == notes["trained_on"] == 17
    with pytest.raises(DataError, match=r"training held out no record of only\.jsonl \(mine\), and saw 17 of its 17"):
        measured(only, [learner], "held-out")


def test_other_data_is_measured_whole_and_without_a_word(source: Path) -> None:
    stranger = Learner("other", Seen(as_marks([1, 2]), as_marks([3])))
    assert measured(source, [stranger]) == ([str(number) for number in range(COUNT)], {})
    texts, notes = measured(source, [stranger], "held-out")  # by the usual rule
    assert texts == [
        text.value[5:] for pair in open_source(source, SourceOptions(split="held-out")) for text in pair.texts
    ]
    assert not notes


def test_several_models_are_measured_on_what_none_was_trained_on(source: Path, learner: Learner) -> None:
    marks = [marks_of(pair) for pair in open_source(source)]
    other = Learner("other", Seen(as_marks(marks[7] + marks[8]), as_marks(marks[2] + marks[3])))
    texts, notes = measured(source, [learner, other, Learner("base", None)])
    assert texts == ["3", "11"]
    assert notes == {"held_out": 2, "trained_on": 18}


def test_a_model_without_a_list_is_said_where_its_split_is_among_them(source: Path) -> None:
    rows = [json.loads(line) | {"split": "train"} for line in source.read_text().splitlines()]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts, notes = measured(source, [Learner("base", None, "train")])
    assert (len(texts), notes) == (COUNT, {"unknown_training": COUNT})


def test_what_came_before_counts_too_and_it_is_kept_in_a_file(source: Path, tmp_path: Path) -> None:
    first = Seen(as_marks([5, 1, 5]), as_marks([2]))
    second = Seen(as_marks([7, 2]), as_marks([9])).after(first, None)
    assert second.trained.tolist() == [1, 2, 5, 7]
    second.write(tmp_path)
    again = read_seen(tmp_path)
    assert again is not None
    assert (again.trained.tolist(), again.held_out.tolist()) == ([1, 2, 5, 7], [9])
    assert again.trained.dtype == np.uint64
    (tmp_path / FILE).write_bytes(b"half of it")
    with pytest.raises(ModelError, match=r"records\.safetensors is damaged"):
        read_seen(tmp_path)
    assert read_seen(source.parent) is None


def test_trained_records_among_others_are_counted(source: Path, learner: Learner) -> None:
    opened = open_source(source)
    trained_among(opened, list(opened), learner, "so what")
    assert [(note.kind, note.count) for note in opened.notes] == [("trained_on", 17)]


def test_records_that_may_be_trained_ones_in_another_form_are_counted(source: Path, tmp_path: Path) -> None:
    trained = [pair for pair in open_source(source) if pair.id != "3.png"]
    marks = as_marks(mark for pair in trained for mark in (*marks_of(pair), *value_marks(pair.texts)))
    learner = Learner("mine", Seen(marks, as_marks([])))
    copy = tmp_path / "copy"
    copy.mkdir()
    for number in range(COUNT):
        Image.new("L", (5, 5), 10 * number).save(copy / f"other {number}.png")
    rows = [f"other {number}.png,Grey  {number}" for number in range(COUNT)] + ["other 3.png,something else"]
    (copy / "t.csv").write_text("image,text\n" + "\n".join(rows))
    texts, notes = measured(copy / "t.csv", [learner])
    assert (len(texts), notes) == (COUNT + 1, {"joined_rows": 1, "texts_trained_on": COUNT - 1})
    texts, notes = measured(copy / "t.csv", [learner], "held-out")
    assert notes["texts_trained_on"] == sum(not text.endswith((" 3", "else")) for text in texts)
    assert "texts_trained_on" not in measured(source, [learner])[1]


def test_documents_of_the_gallery_are_ranked_with_the_records_that_were_held_out(tmp_path: Path) -> None:
    pairs = [Pair(str(n), (), (Text(f"query {n}", role=Role.QUERY), Text("d", role=Role.DOCUMENT))) for n in range(4)]
    gallery = Pair("d", (), (Text("d", role=Role.DOCUMENT),))
    marks = [marks_of(pair) for pair in pairs]
    learner = Learner("mine", Seen(as_marks([*marks[0], *marks_of(gallery)]), as_marks([*marks[1], *marks[2]])))
    source = Chosen(open_source(write_table(tmp_path)), [*pairs, gallery], None)
    chosen = untrained(source, [learner])
    assert [pair.id for pair in chosen] == ["1", "2", "d"]
    assert {note.kind: note.count for note in chosen.notes} == {"held_out": 2, "trained_on": 1, "others": 1}
    split = Chosen(open_source(write_table(tmp_path)), [*pairs, gallery], "train")
    assert [pair.id for pair in untrained(split, [learner])] == ["0", "1", "2", "3", "d"]
    assert [note.detail for note in split.notes if note.kind == "trained_on"] == [
        "measured records that mine was trained on, and so finds better than others (of 4)"
    ]


def write_table(folder: Path) -> Path:
    (folder / "t.csv").write_text("query,document\na,b\n")
    return folder / "t.csv"
