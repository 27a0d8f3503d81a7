"""The navigation is what an index lists."""

from __future__ import annotations

import tomllib

from website.contents import Section, sections, toml

INDEX = """# Documentation

| [Not below a heading](odd.md) | left out |

## Start

| page | what it is for |
|---|---|
| [Install](install.md) | what to "install" |

## How to

| [Search](howto/search.md) | one |

### In depth

| [Libraries](library.md) | two |

## Empty

Words.
"""


def test_a_heading_is_a_section_and_a_row_a_page() -> None:
    start, how_to = sections(INDEX)
    assert start == Section("Start", [("Install", "install.md")])
    assert how_to == Section(
        "How to", [("Search", "howto/search.md"), Section("In depth", [("Libraries", "library.md")])]
    )
    assert how_to.pages() == ["howto/search.md", "library.md"]


def test_it_is_written_as_toml() -> None:
    written = toml([("All", "index.md"), Section('A "b"', [("C", "c.md")])])
    assert tomllib.loads(f"nav = {written}") == {"nav": [{"All": "index.md"}, {'A "b"': [{"C": "c.md"}]}]}
