"""`diptych models list` and `show`."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import diptych
from diptych.cli.app import run
from diptych.models import shipped

from ..hub_server import HubServer, asked_for


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


def test_a_fetched_model_is_used_without_a_network(
    clip_folder: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HubServer() as hub:
        asked_for(hub, tmp_path / "cache", monkeypatch)
        hub.add("tester/clip", clip_folder, card={"license": "mit"})
        assert run(["models", "get", "hf:tester/clip"]) == 2
        out, err = capsys.readouterr()
        assert "licence: mit" in out
        assert "model.safetensors" in out
        assert "to fetch hf:tester/clip, add --yes" in err
        assert run(["eval", str(shapes), "--model", "hf:tester/clip"]) == 4
        assert capsys.readouterr().err.strip().endswith("diptych models get hf:tester/clip")
        assert run(["models", "get", "hf:tester/clip", "--yes"]) == 0
        assert "use it as hf:tester/clip" in capsys.readouterr().out
        assert run(["models", "get", "hf:tester/clip", "--yes", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["missing"] == 0
        (seen,) = _cached(capsys)
        assert (seen["load"], seen["kind"], seen["licence"]) == ("hf:tester/clip", "joint model", "mit")
        assert (seen["revision"], seen["is_whole"]) == (hub.models["tester/clip"].commit, True)
        assert run(["models", "show", "hf:tester/clip", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["kind"], shown["licence"]) == ("joint model", "mit")
        assert shown["parts"]["revision"] == seen["revision"]
        assert shown["parts"]["address"] == f"hf:tester/clip@{seen['revision']}"
        sha = hashlib.sha256((clip_folder / "model.safetensors").read_bytes()).hexdigest()
        assert shown["parts"]["model.safetensors"] == f"SHA-256 {sha}"
        assert shown["parts"]["text"].endswith(", 24 tokens at most")
        assert shown["parts"]["probability"] == "softmax over texts of 14.28 x cosine"
        assert run(["models", "get", "hf:tester/klip", "--yes"]) == 4
        assert "did you mean 'tester/clip'?" in capsys.readouterr().err
    reports = []
    for model in ("hf:tester/clip", f"hf:{clip_folder}"):
        assert run(["eval", str(shapes), "--split", "val", "--model", model, "--json"]) == 0
        reports.append(json.loads(capsys.readouterr().out)["text_to_image"])
    assert reports[0] == reports[1]


def _cached(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The rows of `models list` that are of the cache."""
    assert run(["models", "list", "--json"]) == 0
    return [row for row in json.loads(capsys.readouterr().out) if "is_whole" in row]


def test_what_was_not_fetched_whole_is_listed_with_the_command(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HubServer() as hub:
        asked_for(hub, tmp_path / "cache", monkeypatch)
        hub.add("tester/clip", clip_folder)
        assert run(["models", "get", "hf:tester/clip"]) == 2  # its config alone is here
    capsys.readouterr()
    assert run(["models", "list"]) == 0
    assert "not whole; go on: diptych models get hf:tester/clip\n" in capsys.readouterr().out


def test_listing_imports_no_pytorch(tmp_path: Path) -> None:
    code = "import sys; from diptych.cli.app import run; run(['models', 'list']); print('torch' in sys.modules)"
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "False"
