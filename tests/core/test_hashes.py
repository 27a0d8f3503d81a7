"""Fingerprints of large files are computed once, and again when a file changes."""

import os
from pathlib import Path

import pytest

from diptych.core import fingerprint, hashes


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    whole = fingerprint.of_file
    monkeypatch.setattr(fingerprint, "of_file", lambda path: [read.append(path), whole(path)][1])
    monkeypatch.setattr(hashes, "FROM", 10)
    return read


def test_a_large_file_is_read_once(counted: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"0" * 100)
    first = hashes.of_file(path, just_written=True)
    assert hashes.of_file(path) == first
    assert len(counted) == 1


def test_any_change_is_noticed_even_with_the_same_size_and_time(counted: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"0" * 100)
    before, times = hashes.of_file(path, just_written=True), path.stat()
    path.write_bytes(b"1" * 100)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hashes.of_file(path) != before
    assert len(counted) == 2


def test_a_file_that_changed_a_moment_ago_is_not_remembered(counted: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"0" * 100)
    assert hashes.of_file(path) == hashes.of_file(path)
    assert len(counted) == 2


def test_a_cache_that_cannot_be_written_or_read_costs_only_time(
    counted: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("DIPTYCH_CACHE", str(blocked))
    path = tmp_path / "weights"
    path.write_bytes(b"0" * 100)
    assert hashes.of_file(path, just_written=True) == hashes.of_file(path)
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    found = hashes.of_file(path, just_written=True)
    (note,) = (tmp_path / "hashes").iterdir()
    note.write_text("{")
    assert hashes.of_file(path) == found
