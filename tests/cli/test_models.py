"""`diptych models list` and `show`."""

import json
from pathlib import Path
from typing import Any

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


def test_one_model_is_shown(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", str(small_model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = diptych.load(small_model)
    assert (found["name"], found["kind"], found["fingerprint"]) == ("shapes", "dual encoder", model.fingerprint)
    assert found["parts"]["embedding"] == "16 dimensions, cosine"
    assert found["data"]["train"] == model.config.training["data"]["train"]
    assert found["scores"]["score"] > 0
    assert found["card"].startswith("# shapes")
    assert run(["models", "show", str(small_model)]) == 0
    assert f"fingerprint    {model.fingerprint}" in capsys.readouterr().out


def test_what_ships_is_shown_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", "emoji", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["parts"]["images"]) == ("generator", "64 x 64 pixels")
    assert "de" in found["languages"]
    assert run(["models", "show", "bose"]) == 4
    assert "did you mean 'base'?" in capsys.readouterr().err


def test_a_cross_encoder_is_shown(cross_encoder_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", str(cross_encoder_run.model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["parts"]["objective"]) == ("cross-encoder", "captioning")
    assert len(found["fingerprint"]) == 32
