import io
import json
import tarfile

import PIL.Image
import pytest

from diptych.core.types import BytesImage, FileImage, Origin, Pair, Role, TarImage, Text
from diptych.data.readers import open_source
from diptych.data.write import write_pairs


def picture(colour):
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def red(tmp_path):
    (tmp_path / "red.png").write_bytes(picture("red"))
    return FileImage(tmp_path / "red.png")


def test_what_is_written_is_read_again(tmp_path, red):
    texts = (
        Text("a red wall", "en"),
        Text("all red", "en"),
        Text("rote Wand", "de"),
        Text("Salt\nand pepper", "en", "ingredients"),
        Text("who knows"),
        Text("un mur", "fr", "slogan", Origin.TRANSLATED, 3, "apertium en-fr"),
    )
    pair = Pair("one", (red,), texts, "train", "walls", {"year": 1999})
    assert write_pairs(tmp_path / "out" / "kept.jsonl", [pair]) == 1

    (found,) = open_source(tmp_path / "out" / "kept.jsonl")

    assert (found.id, found.split, found.group, found.images) == ("one", "train", "walls", (red,))
    assert found.texts == texts
    assert found.meta == {"year": 1999}


def test_pictures_without_a_file_are_copied_out(tmp_path, red):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(red.path, "inside.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        member = tar.getmember("inside.png")
    refs = (TarImage(tmp_path / "a.tar", "inside.png", member.offset_data, member.size), BytesImage(picture("blue")))
    pairs = [Pair(f"p{place}", (ref,), (Text(f"text {place}"),)) for place, ref in enumerate(refs)]
    write_pairs(tmp_path / "kept.jsonl", pairs)

    found = list(open_source(tmp_path / "kept.jsonl"))

    assert [pair.id for pair in found] == ["p0", "p1"]
    for pair, ref in zip(found, refs, strict=True):
        with pair.images[0].open() as copied, ref.open() as original:
            assert copied.read() == original.read()


def test_several_pictures_stay_one_pair(tmp_path, red):
    write_pairs(tmp_path / "kept.jsonl", [Pair("two", (red, red), (Text("x"), Text("y")))])
    (found,) = open_source(tmp_path / "kept.jsonl")
    assert (len(found.images), [text.value for text in found.texts]) == (2, ["x", "y"])


def test_records_of_texts_only_are_read_again_with_sides_and_labels(tmp_path):
    query, unrelated = Text("a fox", "en", "query", role=Role.QUERY), Text("snow", role=Role.DOCUMENT, label=0.0)
    document = Text("ein Fuchs", "de", "document", Origin.TRANSLATED, 0, "x", Role.DOCUMENT, 2.5, "d1")
    pairs = [
        Pair("q", (), (query, document, unrelated), "train"),
        Pair("d", (), (Text("rain", role=Role.DOCUMENT, item="d2"),)),
        Pair("same", (), (Text("one"), Text("two")), group="g"),
    ]
    assert write_pairs(tmp_path / "texts.jsonl", pairs) == 3
    source = open_source(tmp_path / "texts.jsonl")
    assert list(source) == pairs
    assert source.skipped == []


@pytest.mark.parametrize(
    ("told", "problem"),
    [({"role": "judge"}, "unknown role 'judge'; choose from query, document"), ({"label": -1}, "a number from 0")],
)
def test_wrong_sides_and_labels_are_named(tmp_path, told, problem):
    row = {"images": [], "texts": [{"text": "a", "role": "query"}, {"text": "b", **told}]}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    source = open_source(tmp_path / "t.jsonl")
    assert [len(pair.texts) for pair in source] == [1]
    assert problem in source.skipped[0].detail
