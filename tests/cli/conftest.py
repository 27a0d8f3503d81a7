"""What the tests of indexing and of libraries share: model folders, pictures, and the command itself."""

from __future__ import annotations

import pytest
from PIL import Image

from diptych.cli.app import run

COLOURS = ("red", "green", "blue", "black", "white")


def write_model(folder, seed):
    """A whole model folder on the tiny towers, with heads as they start out."""
    torch = pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")
    from diptych.core.config import Part
    from diptych.encoders.table import image_tower, text_tower
    from diptych.models.heads import LinearHead
    from diptych.models.save import save

    torch.manual_seed(seed)
    towers = {"image_tower": image_tower("fake"), "text_tower": text_tower("fake")}
    heads = {"image_head": LinearHead(32, 16).eval(), "text_head": LinearHead(32, 16).eval()}
    parts = {"image_head_part": Part("linear"), "text_head_part": Part("linear")}
    specs = {"image_tower_spec": "fake", "text_tower_spec": "fake"}
    save(folder, name=folder.name, dim=16, card=folder.name, training={}, **towers, **heads, **parts, **specs)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    return write_model(base / "tiny", 0), write_model(base / "other", 1)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in COLOURS:
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    return folder


@pytest.fixture
def diptych(capsys):
    """Run a command: exit code, stdout, stderr. Errors must be one line and no traceback."""

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        if code > 1:
            assert "Traceback" not in err
            assert len([line for line in err.splitlines() if line.startswith("diptych: ")]) == 1
        return code, out, err

    return call


@pytest.fixture
def library(diptych, photos, tmp_path, models):
    code, _, _ = diptych("index", photos, "--library", tmp_path / "library", "--model", models[0])
    assert code == 0
    return tmp_path / "library"
