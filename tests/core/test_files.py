"""Files are whole or absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.core.files import atomic_write, cache_folder, fsync_file, fsync_folder, write_bytes, write_json


def test_a_file_is_replaced_in_one_step_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"one")
    with atomic_write(path) as stream:
        stream.write(b"tw")
        assert path.read_bytes() == b"one"
        stream.write(b"o")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def write() -> None:
        with atomic_write(path) as stream:
            stream.write(b"half of the ne")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from diptych.core.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'new' * 100000); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"")
        assert os.umask(0o027) == 0o027  # as it was
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_json_is_readable_by_people_and_takes_any_name(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"Straße": [1, "狗"]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "Straße": [\n    1,\n    "狗"\n  ]\n}\n'
    broken = os.fsdecode(b"caf\xe9.png")  # half a character in it
    write_json(tmp_path / "b.json", {"name": broken})
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8")) == {"name": broken}


def test_flushing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    fsync_file(tmp_path / "file")
    fsync_folder(tmp_path)
    fsync_folder(tmp_path / "none")  # nothing to flush
    with pytest.raises(FileNotFoundError):
        fsync_file(tmp_path / "none")


def test_the_cache_folder_is_the_first_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("DIPTYCH_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "diptych"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "diptych"
    assert not (tmp_path / "home").exists()
