"""Names and messages on one line."""

import pytest

from diptych.core.text import is_blank, is_unicode, number, one_line, plain, plain_json


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, Zürich 日本 👩\u200d🚀", "plain, Zürich 日本 👩\u200d🚀"),
        ("two\nlines\r", r"two\x0alines\x0d"),
        ("\x1b[31m\x7f", r"\x1b[31m\x7f"),
        ("\x85 \u2028", r"\u0085 \u2028"),
        ("\udcff half \ud83d", r"\xff half \ud83d"),
    ],
)
def test_what_a_line_cannot_show_is_written_out(text, line):
    assert one_line(text) == line
    assert len(line.splitlines()) == 1


def test_plain_text_is_valid_unicode():
    assert plain("half \ud800 of it") == "half \\ud800 of it"
    assert plain_json('{"a": "\ud800"}') == '{"a": "\\\\ud800"}'


def test_lone_surrogates_are_no_unicode():
    assert is_unicode("Zürich 日本")
    assert not is_unicode("half \ud800")


def test_a_blank_text_shows_nothing():
    assert is_blank(" \u200b\u3164\ufe0f")
    assert not is_blank(" a")


def test_a_number_has_its_things_name_in_the_right_form():
    assert [number(count, "image") for count in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
