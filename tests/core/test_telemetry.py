"""Nothing leaves this machine, and nothing is written outside the folders that are ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.core import telemetry

# Put on the path of a process and of all that it starts: notes every connection and every file opened for writing.
WATCH = """
import os, sys
busy = []
def watch(event, arguments):
    if busy or event not in ("socket.connect", "socket.getaddrinfo", "open"):
        return
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, (str, bytes)) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        line = f"write {os.path.abspath(os.fsdecode(path))}"
    else:
        address = arguments[1] if event == "socket.connect" else arguments
        if not isinstance(address, tuple):
            return
        line = f"connect {address[0]}"
    busy.append(line)
    descriptor = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, line.encode(errors="replace") + b"\\n")
    os.close(descriptor)
    busy.clear()
sys.addaudithook(watch)
"""


def test_an_empty_home_stays_empty_and_no_connection_is_made(tmp_path: Path, shapes: Path) -> None:
    home, temporary, hook = tmp_path / "home", tmp_path / "tmp", tmp_path / "hook"
    for folder in (home, temporary, hook):
        folder.mkdir()
    (hook / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    log = tmp_path / "log"
    log.touch()
    drawn = sorted(shapes.parent.glob("*-20.png"))[:4]
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps({"image": str(one), "text": one.stem}) + "\n" for one in drawn), "utf-8")
    library = str(tmp_path / "library")
    commands = [
        ["index", str(source), "--library", library],
        ["search", "a red circle", "--library", library],
        ["eval", str(source), "--model", "base", "--bootstrap", "10"],
    ]
    script = f"from diptych.cli.app import run; [sys.exit(code) for a in {commands!r} if (code := run(a))]"
    quiet = {name: value for name, value in os.environ.items() if name not in telemetry.QUIET and "XDG" not in name}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {script}"],
        env=quiet
        | {
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "DIPTYCH_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join([str(hook), *filter(None, sys.path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WATCH_LOG": str(log),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == list(temporary.rglob("*")) == []
    noted = [line.partition(" ")[::2] for line in log.read_text("utf-8").splitlines()]
    assert {what for what, _ in noted} >= {"write"}, "the watch was on"
    assert {host for what, host in noted if what == "connect"} <= {"127.0.0.1", "::1", "localhost"}
    ours = (f"{tmp_path}{os.sep}", os.devnull)
    assert [path for what, path in noted if what == "write" and not f"{path}{os.sep}".startswith(ours)] == []


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = telemetry.QUIET
    for name in others:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(first, "0")
    telemetry.switch_off()
    assert os.environ[first] == "0"
    assert {name: os.environ[name] for name in others} == {name: telemetry.QUIET[name] for name in others}


@pytest.mark.parametrize("package", ["huggingface_hub", "datasets"])
def test_the_packages_understand_it(package: str) -> None:
    pytest.importorskip(package, reason="needs the [hub] extra")
    script = {
        "huggingface_hub": "from huggingface_hub import constants as c; assert c.HF_HUB_DISABLE_TELEMETRY",
        "datasets": "from datasets import config as c; assert not c.HF_UPDATE_DOWNLOAD_COUNTS",
    }[package]
    clean = {name: value for name, value in os.environ.items() if name not in telemetry.QUIET}
    subprocess.run([sys.executable, "-c", f"import diptych; {script}"], check=True, env=clean)
