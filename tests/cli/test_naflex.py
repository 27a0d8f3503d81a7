"""A SigLIP 2 that keeps proportions (NaFlex), from the command line: its images are packed patches."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("transformers", reason="needs the [hub] extra")

from ..joint_models import make_naflex


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return f"hf:{make_naflex(tmp_path_factory.mktemp('naflex'))}"


@pytest.fixture
def shapes(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for width, height in ((90, 30), (30, 90), (50, 50), (200, 2)):
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{width}x{height}.png")
    return folder


def test_index_search_and_explain(address, shapes, tmp_path, diptych):
    library = tmp_path / "library"
    code, out, _ = diptych("index", shapes, "--model", address, "--library", library)
    assert (code, "4 added" in out) == (0, True)
    for name in ("90x30.png", "30x90.png", "200x2.png"):
        code, out, _ = diptych("search", "--image", shapes / name, "--library", library, "-k", "1", "--json")
        (hit,) = json.loads(out)["hits"]
        assert (code, hit["meta"]["name"]) == (0, name)
        assert hit["score"] == pytest.approx(1, abs=1e-3)
    drawn = tmp_path / "why.png"
    code, _, _ = diptych("explain", "a red circle", shapes / "90x30.png", "--model", address, "--grid", "2",
                         "--out", drawn)  # fmt: skip
    assert code == 0
    assert Image.open(io.BytesIO(drawn.read_bytes())).format == "PNG"
