"""A small cross-encoder in the place of the one that ships: every command that takes it, without PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the small cross-encoder is trained with the [train] extra")

from diptych import load
from diptych.cli.app import run
from diptych.core.errors import ModelError
from diptych.models.cross_encoder import load_trained_cross_encoder, shipped
from diptych.models.cross_encoder.pair import PairSettings, write_pair

WITHOUT_TORCH = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from every_command import Hidden
sys.meta_path.insert(0, Hidden({{"torch", "tokenizers", "onnx"}}))
from diptych.cli.app import run
from diptych.models.cross_encoder import shipped
shipped.FOLDER = Path(sys.argv[1])
sys.exit(max(run(line.split()) for line in sys.argv[2:]))
"""


@pytest.fixture
def placed(cross_encoder_run, small_model, tmp_path: Path, monkeypatch):
    """A cross-encoder where the shipped one would be, fitted to the small dual encoder."""
    folder = shutil.copytree(cross_encoder_run.model, tmp_path / "base-reranker")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    found = load_trained_cross_encoder("base")
    write_pair(folder, PairSettings(load(small_model).fingerprint, found.fingerprint, "small", beta=1.0, k=5))
    return folder


def test_everything_works_without_pytorch_and_without_naming_it(placed, small_model, shapes, tmp_path):
    image, library = shapes.parent / "red-circle-20.png", tmp_path / "library"
    lines = [
        f"index {image} {shapes.parent / 'blue-square-20.png'} --model {small_model} --library {library} --quiet",
        f"search circle --library {library} --rerank 5",
        f"caption {image} --quiet",
        f"explain circle {image} --by attention --out {tmp_path / 'why.png'}",
        f"rerank prepare --library {library} --reranker base",
        f"relate {image} circle --model {small_model} --reranker base --json",
        "models list",
        "models show base",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(placed), *lines], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "ordered by shapes-slow h + 1 cosine" in done.stdout
    assert "nats that the image adds to each word" in done.stdout
    assert "tokens of 0 items added, 2 known" in done.stdout  # the search made and kept them
    assert "re-ranker (--reranker)" in done.stdout


def test_it_has_a_name_and_is_not_changed(placed, small_model, shapes, capsys):
    assert load_trained_cross_encoder("base").address == "base"
    assert run(["rerank", "fit", str(shapes), "--model", str(small_model), "--reranker", "base", "--quiet"]) == 2
    assert f"cp -r {placed} reranker" in capsys.readouterr().err
    assert run(["models", "list", "--json"]) == 0
    kinds = {row["kind"]: row["load"] for row in json.loads(capsys.readouterr().out) if row["load"] == "base"}
    assert kinds["cross-encoder"] == "base"


def test_where_none_ships_the_error_says_what_to_do(tmp_path, monkeypatch, shapes, capsys):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "nothing")
    with pytest.raises(ModelError, match="no re-ranker ships"):
        load_trained_cross_encoder("base")
    assert run(["caption", str(shapes.parent / "red-circle-20.png")]) == 4
    assert (
        "none ships with this version of Diptych; diptych train configs/cross_encoder.toml" in capsys.readouterr().err
    )
