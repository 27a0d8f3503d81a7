"""The filter of what is at or below a path holds where `is_below` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from diptych.library.store.below import below, known_below
from diptych.library.store.rows import is_below, location
from diptych.library.store.where import holds

FOLDER = Path("/data/my_lib")
PATHS = [
    "/a", "/a/", "/a/b.jpg", "/a/b.jpg::7", "/ab", "/ab/c.jpg", "/a%/c.jpg", "/a_/c.jpg", "/a::x", "/A/b.jpg",
    "/a/é.jpg", "/a/\\x.jpg", "/data/my_lib/x.jpg", "/data/my_lib2/x.jpg", "./files/aa/1.jpg", "./files/ab/2.jpg",
    "./files/aa/1.jpg::3",
]  # fmt: skip
ROOTS = [
    "/", "/a", "/a/b.jpg", "/a%", "/a_", "/A", "/data", "/data/my_lib", "/data/my_lib/files", "/data/my_lib/files/aa",
    "/data/my_lib/files/aa/1.jpg", "/data/my", "/a/é.jpg", "/nowhere",
]  # fmt: skip


@pytest.mark.parametrize("root", ROOTS)
def test_it_is_as_slow_obvious_code(root) -> None:
    found = [path for path in PATHS if holds(below(root, FOLDER), {"path": path}.get)]
    assert found == [path for path in PATHS if is_below(location(path, FOLDER), root)]
    known = [path for path in PATHS if holds(known_below(root), {"path": path, "source": "/nowhere"}.get)]
    assert known == [path for path in PATHS if root == "/nowhere" or is_below(path, root)]
