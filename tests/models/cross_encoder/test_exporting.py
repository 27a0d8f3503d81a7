from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs the [train] extra")

from diptych.cli.app import run
from diptych.models.cross_encoder import load_trained_cross_encoder
from diptych.models.cross_encoder.pair import PairSettings, read_pair, write_pair

TEXTS = ["a red circle", "a blue square", "a green stripe"]


def as_of_before(model: Path, folder: Path) -> Path:
    """A copy of a model as it was saved before it held graphs."""
    shutil.copytree(model, folder)
    for graph in folder.glob("*.onnx"):
        graph.unlink()
    config = json.loads((folder / "config.json").read_text())
    config["files"] = {name: value for name, value in config["files"].items() if not name.endswith(".onnx")}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_older_folder_gets_graphs_and_int8_is_smaller(cross_encoder_run, shapes, tmp_path, capsys):
    older = as_of_before(cross_encoder_run.model, tmp_path / "older")
    original = load_trained_cross_encoder(older, precision="float32")
    assert type(original.backend).__name__ == "TorchBackend"
    write_pair(older, PairSettings("d" * 32, original.fingerprint, "dual", beta=2.0, k=20))
    tokens = original.encode_images([shapes.parent / f"{name}-20.png" for name in ("red-circle", "blue-square")])
    wanted = original.scores(tokens, TEXTS)
    for precision, close in (("fp32", 1e-4), ("int8", 0.5)):
        out = tmp_path / precision
        assert run(["models", "export", str(older), "--out", str(out), "--precision", precision, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["precision"] == ("int8" if precision == "int8" else "fp16")
        assert told["nearness"]["least correlation"] > 0.99
        exported = load_trained_cross_encoder(out)
        assert type(exported.backend).__name__ == "OnnxBackend"
        assert exported.scores(tokens, TEXTS) == pytest.approx(wanted, abs=close)
        assert np.allclose(
            load_trained_cross_encoder(out, graphs=False, precision="float32").scores(tokens, TEXTS), wanted, atol=close
        )
        assert read_pair(out, "d" * 32, exported.fingerprint, "dual").beta == 2.0
        assert (out / "records.safetensors").is_file()
        assert "## Exported" in (out / "README.md").read_text()
    assert run(["models", "export", str(tmp_path / "int8"), "--out", str(tmp_path / "again")]) == 2
    assert "exported already" in capsys.readouterr().err
    assert run(["models", "export", str(older), "--out", str(older.parent / "." / "older"), "--precision", "int8"]) == 2
    assert "is the model itself" in capsys.readouterr().err
    assert load_trained_cross_encoder(older).fingerprint == original.fingerprint


def test_what_runs_without_pytorch_is_exported_for_its_size_alone(cross_encoder_run, tmp_path, capsys):
    assert run(["models", "export", str(cross_encoder_run.model), "--out", str(tmp_path / "out")]) == 2
    assert "runs without PyTorch as it is; --precision int8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
