"""`diptych models blend`."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")

import diptych
from diptych.cli.app import run


@pytest.fixture
def two(tiny_model: Any, tmp_path: Path) -> list[str]:
    return [str(tiny_model(tmp_path / name, seed=seed)) for seed, name in enumerate(("before", "after"))]


def test_one_share_writes_a_model(two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "blend", *two, "--by", "0.25", "--out", str(tmp_path / "made")]) == 0
    printed = capsys.readouterr().out
    assert f"model: {tmp_path / 'made'} (after-blend-0.25)" in printed
    assert diptych.load(tmp_path / "made").config.training["blend"]["share"] == 0.25


def test_several_shares_print_the_curve(
    two: list[str], shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["--check", str(shapes), "--check", str(shapes), "--split", "val"]
    plot = tmp_path / "curve.png"
    assert run(["models", "blend", *two, "--by", "0,0.5,1", *check, "--plot", str(plot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["source"] for each in found["sources"]] == ["captions.jsonl #1", "captions.jsonl #2"]
    rows = found["sources"][0]["rows"]
    assert list(rows) == ["0", "0.5", "1"]
    for share, folder in (("0", two[0]), ("1", two[1])):
        report = diptych.evaluate(folder, str(shapes), split="val")
        assert rows[share]["i2t R@1"] == pytest.approx(100 * report.image_to_text["R@1"], abs=0.01)
        assert rows[share]["rsum"] == pytest.approx(report.rsum, abs=0.05)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after", "before", "curve.png"]  # no model is left
    assert run(["models", "blend", *two, "--by", "0,1", *check]) == 0
    assert "| share | image → text R@1 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--out"),
        (["--by", "0,1", "--out", "made"], "one share"),
        (["--by", "half", "--out", "made"], "found 'half'"),
        (["--by", "1.5", "--out", "made"], "from 0 to 1"),
        (["--out", "made", "--plot", "curve.png"], "several shares"),
    ],
)
def test_wrong_flags(
    two: list[str], flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["models", "blend", *two, *flags]) == 2
    assert words in capsys.readouterr().err
    assert not Path("made").exists()


def test_another_architecture(small_model: Path, two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "blend", two[0], str(small_model), "--out", f"{two[0]}-made"]) == 4
    said = capsys.readouterr().err
    assert "cannot be blended" in said
    assert "the image side's head" in said
