import pytest

from diptych.core.errors import DataError
from diptych.data.mined import MinedRecord, read_mined, unknown_ids, write_mined


def test_what_is_mined_is_read_by_id(tmp_path):
    path = tmp_path / "deep" / "mined.jsonl"
    records = [
        MinedRecord("a", ("c", "b"), (0.05, -0.01)),
        MinedRecord("b", (), ()),
        MinedRecord("ü\n", ("a",), (0.0,)),
    ]

    assert write_mined(path, iter(records), {"model": "base"}) == 3
    assert read_mined(path) == {"a": ("c", "b"), "b": (), "ü\n": ("a",)}
    assert unknown_ids(read_mined(path), ["a", "b", "z"]) == 1


def test_an_interrupted_run_leaves_the_old_file(tmp_path):
    path = tmp_path / "mined.jsonl"
    write_mined(path, [MinedRecord("a", (), ())], {})

    def failing():
        yield MinedRecord("b", (), ())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mined(path, failing(), {})
    assert read_mined(path) == {"a": ()}
    assert [file.name for file in tmp_path.iterdir()] == ["mined.jsonl"]


HEADER = '{"format": "diptych-mined", "version": 1}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no list of hard negatives"),
        ("[1]\n", "no list of hard negatives"),
        ('{"format": "diptych-mined", "version": 9}\n', "version 9"),
        (HEADER + "not json\n", "line 2 is damaged"),
        (HEADER + '{"id": 3, "negatives": []}\n', "line 2 is damaged"),
        (HEADER + '{"id": "a", "negatives": [1]}\n', "line 2 is damaged"),
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
