"""No module needs what only some systems have: what does is imported where it is used."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import diptych
from diptych.core.errors import ConfigError
from diptych.core.files import lock

SOURCES = sorted(Path(diptych.__file__).parent.rglob("*.py"))
ON_SOME_SYSTEMS = {"fcntl", "grp", "msvcrt", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "winreg"}


def test_nothing_of_one_system_is_imported_by_a_module() -> None:
    found = {}
    for path in SOURCES:
        names = set()
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Import):
                names |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").partition(".")[0])
        found[path.name] = names & ON_SOME_SYSTEMS
    assert len(found) > 100
    assert not {name: names for name, names in found.items() if names}


def test_a_system_without_file_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with (tmp_path / "lock").open("w") as stream, pytest.raises(ConfigError, match="run Diptych in WSL"):
        lock(stream)


def test_locks_exclude_each_other_and_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as one, path.open("w") as two, path.open("w") as three:
        lock(one, shared=True)
        lock(two, shared=True, wait=False)
        with pytest.raises(BlockingIOError):
            lock(three, wait=False)
        two.close()
        one.close()
        lock(three, wait=False)
