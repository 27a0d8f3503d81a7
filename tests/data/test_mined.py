import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.data.mined import MinedRecord, images_of, read_mined, write_mined


def test_what_is_mined_is_read_by_record(tmp_path):
    path = tmp_path / "deep" / "mined.jsonl"
    records = [
        MinedRecord("a", "1a", ("c", "b"), (0.05, -0.01)),
        MinedRecord("b", "1b", (), ()),
        MinedRecord("ü\n", "1c", ("a",), (0.0,)),
    ]

    assert write_mined(path, iter(records), {"model": "base"}) == 3
    mined = read_mined(path)
    assert mined.negatives == {"a": ("c", "b"), "b": (), "ü\n": ("a",)}
    assert mined.changed({"a": "1a", "b": "1b", "z": "9f"}) == []
    assert mined.changed({"a": "1b", "b": "1b"}) == ["a"]


def test_images_of_a_record_have_one_fingerprint():
    owner = np.array([0, 1, 1, 2])
    found = images_of(owner, [b"x", b"y", b"z", b"x"])
    assert found[0] == found[2] != found[1]
    assert found != images_of(owner, [b"x", b"y", b"other", b"x"])


def test_an_interrupted_run_leaves_the_old_file(tmp_path):
    path = tmp_path / "mined.jsonl"
    write_mined(path, [MinedRecord("a", "1", (), ())], {})

    def failing():
        yield MinedRecord("b", "1", (), ())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mined(path, failing(), {})
    assert read_mined(path).negatives == {"a": ()}
    assert [file.name for file in tmp_path.iterdir()] == ["mined.jsonl"]


HEADER = '{"format": "diptych-mined", "version": 2}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no list of hard negatives"),
        ("[1]\n", "no list of hard negatives"),
        ('{"format": "diptych-mined", "version": 9}\n', "version 9"),
        (HEADER + "not json\n", "line 2 is damaged"),
        ('{"format": "diptych-mined", "version": 1}\n', "version 1.*mine again"),
        (HEADER + '{"record": 3, "images": "1", "negatives": []}\n', "line 2 is damaged"),
        (HEADER + '{"record": "a", "images": "1", "negatives": [1]}\n', "line 2 is damaged"),
        (HEADER + '{"record": "a", "images": "1", "negatives": []}\n' * 2, "line 3 names record 'a' twice"),
    ],
)
def test_other_files_are_refused_by_name_and_line(tmp_path, content, message):
    path = tmp_path / "mined.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_mined(path)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_mined(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_mined(tmp_path / "binary")
