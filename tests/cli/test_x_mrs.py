"""X-MRS's synthesis from the command line, on a dual encoder whose image network was trained here from pixels."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")
if find_spec("timm") is None:
    pytest.skip("needs a network of timm, which comes with [train]", allow_module_level=True)

import diptych as package  # noqa: E402
from diptych.cli.app import run  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.data.images import prepare  # noqa: E402
from diptych.synthesis.frozen_encoder import FrozenImageEncoder  # noqa: E402

CONFIGS = Path(__file__).parents[2] / "configs"
ENCODER = """
name = "own"
dim = 16
loss = "info_nce"
[image]
tower = { name = "pixels", size = 32 }
network = { name = "backbone", model = "test_resnet", pretrained_weights = false, rate = 1.0, frozen_epochs = 0 }
head = "linear"
[text]
tower = "fake"
head = "linear"
[data]
views = ["full"]
workers = 1
[training]
epochs = 1
batch_size = 20
precision = "32-true"
"""
GENERATOR = (
    "size=16", "steps=2", "frozen_network=layout", "x_mrs.width=4", "x_mrs.discriminator_width=4", "x_mrs.most=2",
    "x_mrs.condition=image", "training.epochs=1", "training.batch_size=8", "training.precision=32-true",
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(shapes, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.toml").write_text(ENCODER, encoding="utf-8")
    assert run(["train", str(folder / "own.toml"), str(shapes), "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run" / "model"


@pytest.fixture(scope="module")
def generator(encoder, shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("x-mrs")
    settings = [word for one in (*GENERATOR, f"x_mrs.encoder={encoder}") for word in ("--set", one)]
    config = CONFIGS / "synthesis" / "x_mrs_recipes.toml"
    assert run(["train", str(config), str(shapes), *settings, "--out", str(out), "--quiet"]) == 0
    return out / "model"


def test_gradients_reach_the_image_through_a_network_of_ones_own(encoder):
    loaded = package.load(encoder)
    draw = np.random.default_rng(0)
    pixels = np.stack([prepare(draw.integers(0, 255, (7, 7, 3), np.uint8), loaded.preprocess) for _ in range(3)])
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1).requires_grad_()
    found = FrozenImageEncoder(loaded)(images)
    assert found.detach().numpy() == pytest.approx(loaded.encode_pixels(pixels), abs=2e-3)
    found[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0
    with pytest.raises(ConfigError, match=r"'own' sees images of 32 pixels alone; leave out x_mrs\.encoder_size"):
        FrozenImageEncoder(loaded, 33)


def test_an_encoder_without_a_network_of_pytorch_cannot_judge(small_model):
    with pytest.raises(ConfigError, match="its image tower 'fake' has no PyTorch network here"):
        FrozenImageEncoder(package.load(small_model))


def test_images_are_drawn_like_an_image_and_found_by_what_was_drawn(diptych, generator, library, shapes, tmp_path):
    like, out = shapes.parent / "red-circle-20.png", tmp_path / "like.png"
    asked = ("generator", "draw", "a red circle", "--like", like, "-n", 3, "--generator", generator, "--out", out)
    code, told, _ = diptych(*asked, "--json")
    assert code == 0
    value = json.loads(told)
    assert (value["images"], value["texts"], value["like"]) == (6, ["a red circle"], [str(like)])
    searched = ("search", "--library", library, "--generator", generator, "--json", "--by-generated")
    by_image, by_text = (json.loads(diptych(*searched, one)[1]) for one in (like, "a red circle"))
    assert len(by_image["hits"]) == len(by_text["hits"]) == 5
    assert [hit["score"] for hit in by_image["hits"]] != [hit["score"] for hit in by_text["hits"]]


def test_a_generator_is_measured_with_what_it_was_conditioned_on(diptych, generator, small_model, shapes):
    code, out, _ = diptych(
        "generator", "eval", shapes, "--generator", generator, "--given", "image", "--model", small_model,
        "--features", "fake", "--maps", "", "--pool", 5, "--bootstrap", 0, "--texts", 8, "--noises", 1,
        "--train-split", "", "--json", "--quiet",
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    assert {"to_texts_R@1", "to_images_R@1"} <= {one["key"] for one in report["measures"]}
    assert "the generator was given the first image of each pair in place of a text" in report["remarks"]


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["--like", "a.png", "--to", "green"], "leave out --to and --folder", 2),
        (["--like", "missing.png"], "missing.png", 3),
    ],
)
def test_what_cannot_be_drawn(diptych, generator, arguments, message, exit_code):
    code, _, told = diptych("generator", "draw", "--generator", generator, *arguments)
    assert code == exit_code
    assert message in told


def test_a_generator_of_texts_alone_cannot_be_given_an_image(diptych, trained_generator, shapes):
    like = shapes.parent / "red-circle-20.png"
    code, _, told = diptych("generator", "draw", "--like", like, "--generator", trained_generator.model)
    assert code == 2
    assert "reads texts only" in told
