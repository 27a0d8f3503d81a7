"""`diptych models`."""

import json
from pathlib import Path

import pytest

import diptych
from diptych.cli.app import run
from diptych.models import shipped


@pytest.fixture(autouse=True)
def _only_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped models whose weights are not in this checkout are left out of the list."""
    here = Path(shipped.__file__).parent
    for name in [name for name in shipped.SHIPPED if not (here / name).exists()]:
        monkeypatch.delitem(shipped.SHIPPED, name)


def test_a_folder_is_described(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", str(small_model), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[-1]
    model = diptych.load(small_model)
    assert (row["name"], row["dim"], row["fingerprint"]) == ("shapes", 16, model.fingerprint)
    assert (row["image_tower"], row["text_tower"]) == ("fake", "fake")
    assert row["validation"]["score"] > 0
    assert run(["models", "list", str(small_model)]) == 0
    assert "16-d" in capsys.readouterr().out


def test_a_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", str(tmp_path)]) == 4
    assert "is not a model" in capsys.readouterr().err
