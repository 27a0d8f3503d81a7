"""What is wrong with a site is named; what is right is not."""

from __future__ import annotations

import random
import re
from pathlib import Path

from website.check import problems


def test_each_kind_of_problem_is_named(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "index.html").write_text('<h1 id="a b">x</h1><a name="old"></a><a href="../index.html">up</a>')
    (tmp_path / "heavy.png").write_bytes(random.Random(0).randbytes(300_001))
    (tmp_path / "style.css").write_text("")
    right = (
        '<a href="more/#a%20b">1</a><a href="more/index.html#old">2</a><a href="https://x.org">3</a>'
        '<a href="#top">4</a>'
    )
    (tmp_path / "index.html").write_text(f'<link rel="stylesheet" href="style.css"><p id="top">{right}')
    assert list(problems(tmp_path)) == []

    (tmp_path / "index.html").write_text(
        right + '<img src="heavy.png"><script src="https://cdn.org/a.js"></script><a href="gone.html">x</a>'
        '<link rel="preconnect" href="//fonts.org"><a href="more/#nothing">y</a><p id="top">'
    )
    weight, *others = sorted(problems(tmp_path))
    assert re.fullmatch(r"a first visit to index\.html moves 300,\d{3} bytes; expected at most 300,000", weight)
    assert others == [
        "index.html fetches //fonts.org from elsewhere",
        "index.html fetches https://cdn.org/a.js from elsewhere",
        "index.html leads to gone.html, which is not there",
        "index.html leads to more/#nothing, which has no such anchor",
    ]
