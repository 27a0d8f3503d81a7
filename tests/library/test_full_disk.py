"""A disk that is full: a clear error, old data searchable, and all well again once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from item_writer import opened, picture, vector
from diptych.core.errors import LibraryError
from diptych.library import Library
from diptych.library.maintenance import HARMLESS

folder, kind = Path({folder!r}), {kind!r}
library = opened(folder)
library.add([picture(number) for number in range(60)])
kept = 60

def fill():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
    else:
        filler = folder.parent / "filler"
        with filler.open("wb") as stream:
            try:
                while True:
                    stream.write(b"x" * 65536)
                    stream.flush()
            except OSError:
                pass

def make_room():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        (folder.parent / "filler").unlink()

def check(expected):
    for one in (library, Library.open(folder)):
        assert len(one) == expected, (len(one), expected)
        (hit,) = one.search(vector(7), 1)
        assert hit.meta["number"] == 7

check(kept)
fill()
errors = []
for attempt in range(3):  # many rows at once, too much for a file or for the disk
    try:
        library.add([picture(10_000 * attempt + number) for number in range(1000, 1150)])
    except LibraryError as error:
        errors.append(str(error))
assert len(errors) == 3, errors
for error in errors:
    assert "\\n" not in error and "make room" in error, error
    assert any(word in error for word in ("full", "No space left", "too large")), error
check(kept)
make_room()
library.add([picture(number) for number in range(1000, 1150)])
check(kept + 150)
left = {{kind for kind in library.verify().kinds}}
assert left <= HARMLESS, left
library.repair()
assert library.verify().problems == ()
check(kept + 150)
print("fine:", errors[0])
"""


def run(folder: Path, kind: str) -> None:
    script = SCRIPT.format(benchmarks=str(ROOT / "benchmarks"), folder=str(folder), kind=kind)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=environment, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fine:")


@pytest.mark.slow  # the small disk is the quick one
def test_a_limit_on_file_sizes(tmp_path):
    run(tmp_path / "library", "limit")


def test_a_small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        run(disk / "library", "disk")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_killed_again_and_again_while_writing(tmp_path):
    """The benchmark with its 200 kills, in small."""
    command = [sys.executable, ROOT / "benchmarks" / "kill_writes.py", "--kills", "4", "--longest", "3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, "--folder", tmp_path, "--slowest-restart", "60"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was lost, doubled or broken" in done.stdout
