"""Names and messages on one line."""

import pytest

from diptych.core.lines import one_line


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
