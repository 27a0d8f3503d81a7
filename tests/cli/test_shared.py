"""What every command shares."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diptych.cli.app import run
from diptych.cli.pulse import EVERY, PULSE, Pulse
from diptych.cli.shared import Common, RichProgress
from diptych.core.protocols import SILENT


def test_results_as_text_or_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Common().show({"a": 1}, "one")
    Common(json=True).show({"名": 1}, "one")
    assert capsys.readouterr().out == 'one\n{\n  "名": 1\n}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_name_can_be_printed(encoding: str) -> None:
    code = (
        "import os; from diptych.cli.shared import Common; name = os.fsdecode(b'caf\\xe9 ') + '狗'; "
        "Common(json=True).show({'name': name}, ''); Common().show(None, name)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.decode("utf-8")
    value, _ = json.JSONDecoder().raw_decode(printed)
    assert value["name"] == os.fsdecode(b"caf\xe9 ") + "狗"
    assert printed.splitlines()[-1].startswith("caf\\xe9 ")


def test_progress_goes_to_stderr_and_quiet_silences_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Common().progress().track(iter("abc"), "letters")) == ["a", "b", "c"]
    RichProgress().say("news")
    assert capsys.readouterr() == ("", "news\n")
    assert Common(quiet=True).progress() is SILENT
    assert list(SILENT.track([1, 2], "numbers")) == [1, 2]


def test_without_a_terminal_long_work_is_never_silent(capsys: pytest.CaptureFixture[str]) -> None:
    pulse = Pulse(every=0.1)
    pulse.start()
    try:
        time.sleep(0.25)  # nothing is counted: reading, validating, ...
        for number in pulse.track(range(4), "epochs", 4):
            for _ in pulse.track(range(2), f"epoch {number}", None):
                time.sleep(0.15 if number == 2 else 0.0)  # one step longer than the pulse
    finally:
        pulse.stop()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "still at work, 0:00"
    assert any(line.startswith("epoch 2: 1, 0:00") for line in lines)
    assert lines[-1] == "epoch 2: 2, 0:00"  # a count that was told is told to its end
    assert not any(line.startswith("epoch 1") for line in lines)  # what is quick says nothing
    time.sleep(0.25)
    assert capsys.readouterr().err == ""  # it has stopped


def test_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pulse = Pulse()
    for _ in pulse.track(range(500), "image features", 500):
        now[0] += 0.5
        if now[0] == 60.0:
            pulse._tell()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "image features: 119 of 500 (24%), 1:00, about 3:12 left"
    assert last == "image features: 500 of 500 (100%), 4:10"
    assert EVERY <= 30


def test_a_redirected_command_has_a_pulse_that_ends_with_it(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(PULSE, "start", lambda: seen.append("start"))
    real = PULSE.stop
    monkeypatch.setattr(PULSE, "stop", lambda: (seen.append("stop"), real()))
    assert run(["eval", str(shapes), "--model", "nowhere"]) != 0
    assert seen[-1] == "stop"
    Common().progress()
    assert seen[-1] == "start"
