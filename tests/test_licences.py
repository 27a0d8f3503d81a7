"""LICENCES.md names everything that ships and is neither Python nor text."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .distribution import shipped

ROOT = Path(__file__).parents[1]
TEXT = (".py", ".md", ".cff", "LICENSE", "Makefile", "pyproject.toml", "py.typed")  # ours, as LICENSE says
PLACES = ("src", "website", "docs", "configs", "deploy", "examples", "benchmarks")
ROWS = shipped()


def files() -> list[str]:
    found = subprocess.run(["git", "ls-files", *PLACES], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("needs a clone")
    return [name for name in found.stdout.splitlines() if not name.endswith(TEXT)]


def test_every_file_is_in_exactly_one_row() -> None:
    rows = {name: [row for row in ROWS if row.has(name)] for name in files()}
    assert [name for name, found in rows.items() if not found] == []
    twice = [name for name, found in rows.items() if len({row.licence for row in found}) > 1]
    assert twice == []


def test_every_row_is_of_files_that_are_there() -> None:
    assert len(ROWS) > 8
    for row in ROWS:
        for pattern in row.patterns:
            assert any(ROOT.glob(pattern)), pattern


def test_the_licences_are_names_that_spdx_has() -> None:
    from packaging.licenses import canonicalize_license_expression

    for row in ROWS:
        assert canonicalize_license_expression(row.licence) == row.licence


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.what.startswith("weights")], ids=lambda row: row.patterns[0]
)
def test_the_weights_have_the_licence_of_their_card(row: object) -> None:
    (pattern,) = row.patterns  # type: ignore[attr-defined]
    card = (ROOT / pattern).parent / "README.md"
    said = re.sub("[- ]", "", card.read_text().partition("## Licence")[2].split(";")[0].split(",")[0].strip())
    assert said == row.licence.replace("-", "")  # type: ignore[attr-defined]


def test_no_font_ships_and_pages_name_no_other_server() -> None:
    assert [name for name in files() if name.endswith((".ttf", ".otf", ".woff", ".woff2"))] == []
    for name in files():
        if name.endswith((".js", ".css", ".html")):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"(?:src|href)=[\"']https?:|@import|url\([\"']?https?:", text), name
