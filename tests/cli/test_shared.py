"""What every command shares."""

import json
import os
import subprocess
import sys

import pytest

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
    assert printed.splitlines()[-1].startswith("caf\\udce9 ")


def test_progress_goes_to_stderr_and_quiet_silences_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Common().progress().track(iter("abc"), "letters")) == ["a", "b", "c"]
    RichProgress().say("news")
    assert capsys.readouterr() == ("", "news\n")
    assert Common(quiet=True).progress() is SILENT
    assert list(SILENT.track([1, 2], "numbers")) == [1, 2]
