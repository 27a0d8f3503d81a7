"""Lines and arrays read piecewise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import DataError, Reason
from diptych.data.readers import textfile
from diptych.data.readers.options import SourceOptions
from diptych.data.readers.reading import Reading

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(values=st.lists(VALUES, max_size=8), block=st.integers(1, 40), indent=st.sampled_from([None, 2]))
def test_an_array_read_in_blocks_is_the_array(tmp_path_factory, values, block, indent):
    path = tmp_path_factory.mktemp("array") / "a.json"
    path.write_text(json.dumps(values, ensure_ascii=False, indent=indent), "utf-8")
    assert list(textfile.json_array(Reading(path, SourceOptions()), path, block=block)) == values


def test_a_number_at_the_end_of_a_block_is_read_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[12345, 67890]")
    for block in range(1, 16):
        assert list(textfile.json_array(Reading(path, SourceOptions()), path, block=block)) == [12345, 67890]


def test_not_an_array(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="must hold a JSON array"):
        list(textfile.json_array(Reading(tmp_path, SourceOptions()), tmp_path / "a.json"))


def test_a_line_too_long_is_skipped_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(textfile, "MAX_LINE", 8)
    (tmp_path / "a.txt").write_bytes(b"one\n" + b"x" * 30 + b"\ntwo\n")
    job = Reading(tmp_path, SourceOptions())
    assert [text for _, text in textfile.lines(job, tmp_path / "a.txt")] == ["one", "two"]
    assert [(entry.name, entry.reason) for entry in job.skipped] == [("a.txt line 2", Reason.BAD_ROW)]


def test_utf16_that_breaks_off_gives_what_came_before(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16") + b"x")
    job = Reading(tmp_path, SourceOptions())
    assert [text for _, text in textfile.lines(job, tmp_path / "a.txt")] in ([], ["one", "two"])
    assert [entry.reason for entry in job.skipped] == [Reason.TRUNCATED]
