import os

from hypothesis import example, given
from hypothesis import strategies as st

from diptych.core.file_names import escape, unescape
from diptych.core.text import one_line


def test_ordinary_names_stay_as_they_are():
    for name in ("a.jpg", "Ünï/図.png", "C:\\photos\\x.jpg", "a::b"):
        assert escape(name) == name


def test_a_name_that_is_not_utf8():
    name = os.fsdecode(b"caf\xe9.jpg")
    assert escape(name) == "caf\\xe9.jpg"
    assert os.fsencode(unescape("caf\\xe9.jpg")) == b"caf\xe9.jpg"


def test_a_backslash_that_looks_like_an_escape():
    assert escape("caf\\xe9.jpg") == "caf\\x5cxe9.jpg"
    assert unescape("caf\\x5cxe9.jpg") == "caf\\xe9.jpg"


@given(st.binary(max_size=40))
@example(b"\\x5c\\xff\xff\\")
@example(b"\\\\x41\\u0041\\ud800")
def test_every_file_name_comes_back(raw):
    name = os.fsdecode(raw)
    written = escape(name)
    written.encode("utf-8")
    assert os.fsencode(unescape(written)) == raw
    assert unescape(one_line(written)) == name


@given(st.lists(st.binary(max_size=12), min_size=2, max_size=6, unique=True))
def test_different_names_are_written_differently(names):
    assert len({escape(os.fsdecode(name)) for name in names}) == len(names)
