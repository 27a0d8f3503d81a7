"""Blends: by hand on small matrices, exact at both ends, refused where the two are no versions of one model."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")

import diptych  # noqa: E402
from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.encoders.graphs import SCALE, stored  # noqa: E402
from diptych.models.blend import blend, blended, blended_scale  # noqa: E402
from diptych.models.folder import CONFIG  # noqa: E402

from .test_save import MLP, save  # noqa: E402


def test_by_hand() -> None:
    one = {"w": np.array([[1.0, 2.0]], np.float32), "n": np.array([3])}
    other = {"w": np.array([[3.0, -2.0]], np.float32), "n": np.array([3])}
    found = blended(one, other, 0.25)
    assert found["w"].tolist() == [[1.5, 1.0]]
    assert found["n"].tolist() == [3]
    assert blended_scale(10.0, 1000.0, 0.5) == pytest.approx(100.0)  # as its logarithm
    assert blended_scale(10.0, None, 0.5) is None
    assert (blended_scale(10.0, None, 0), blended_scale(10.0, 7.0, 1)) == (10.0, 7.0)


def test_small_storage_is_widened_and_stored_again() -> None:
    draw = np.random.default_rng(0)
    first, second = (draw.normal(size=(300, 300)).astype(np.float32) for _ in range(2))
    bytes_ = [stored("w", value, compact=True) for value in (first, second)]
    found = blended(*bytes_, 0.5)
    wide = [each["w"] * each["w" + SCALE] for each in bytes_]
    assert (found["w"].dtype, found["w" + SCALE].shape) == (np.int8, (300, 1))
    assert np.abs(found["w"] * found["w" + SCALE] - (wide[0] + wide[1]) / 2).max() < 0.02
    half = {"w": second.astype(np.float16)}
    mixed = blended(bytes_[0], half, 0.5)  # the wider of both forms
    assert (mixed["w"].dtype, "w" + SCALE in mixed) == (np.float16, False)


def test_what_cannot_be_blended_is_said() -> None:
    for other, words in (
        ({"w": np.zeros(3, np.float32)}, r"other sizes: w is \(2,\) and \(3,\)"),
        ({"v": np.zeros(2, np.float32)}, "only one of them has v"),
        ({"w": np.array([1, 2])}, "whole numbers that differ"),
    ):
        with pytest.raises(ModelError, match=words):
            blended({"w": np.zeros(2, np.float32)}, other, 0.5)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("two")
    for name, seed in (("a", 0), ("b", 1)):
        save(folder / name, MLP, seed, name=name)
    return folder / "a", folder / "b"


@pytest.mark.parametrize("compact", [False, True])
def test_both_ends_are_the_models_themselves(tmp_path: Path, compact: bool) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        save(tmp_path / name, MLP, seed, compact=compact)
    one, other = (diptych.load(tmp_path / name) for name in "ab")
    for share, same in ((0, one), (1, other)):
        blend(one, other, share, tmp_path / "made")
        assert diptych.load(tmp_path / "made").fingerprint == same.fingerprint
        assert (tmp_path / "made" / "model.safetensors").read_bytes() == (
            same.folder / "model.safetensors"
        ).read_bytes()


def test_a_blend_computes_with_the_mean_weights(two: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = map(diptych.load, two)
    blend(one, other, 0.5, tmp_path / "made", name="mean")
    made = diptych.load(tmp_path / "made")
    features = np.random.default_rng(0).normal(2, 5, (9, 32)).astype(np.float32)
    modules = [model.torch().image for model in (one, other, made)]
    states = [module.state_dict() for module in modules]
    for key, value in states[2].items():
        assert torch.allclose(value, (states[0][key] + states[1][key]) / 2, atol=2e-3), key
    mean = {key: (states[0][key] + states[1][key]) / 2 for key in states[0]}
    modules[0].load_state_dict(mean)
    with torch.no_grad():
        wanted = modules[0](torch.from_numpy(features)).numpy()
    assert (made.image_head(features) * wanted).sum(1).min() > 0.9999
    assert made.config.training["blend"]["share"] == 0.5
    assert made.config.training["blend"]["before"] == {"name": "a", "fingerprint": one.fingerprint}
    card = (tmp_path / "made" / "README.md").read_text()
    assert "0.5 of the first and 0.5 of the second" in card
    assert one.fingerprint[:16] in card


def with_config(folder: Path, **changes: Any) -> Any:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return diptych.load(folder)


def test_the_temperature_is_blended(two: tuple[Path, Path], tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        save(tmp_path / name, MLP, seed)
    one = with_config(tmp_path / "a", logit_scale=10.0, logit_bias=-10.0)
    other = with_config(tmp_path / "b", logit_scale=40.0, logit_bias=-6.0)
    config = blend(one, other, 0.5, tmp_path / "made")
    assert config.logit_scale == pytest.approx(math.sqrt(400))
    assert config.logit_bias == pytest.approx(-8.0)


def test_models_that_are_no_versions_of_one_are_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    save(tmp_path / "wide", MLP, 3, dim=16, name="linear")
    one = diptych.load(two[0])
    wide = diptych.load(tmp_path / "wide")
    side = dataclasses.replace(wide.config.image, fingerprint="of another tower")
    wide.config = dataclasses.replace(wide.config, image=side)
    with pytest.raises(ModelError, match="the image side's fingerprint"):
        blend(one, wide, 0.5, tmp_path / "made")
    with pytest.raises(ConfigError, match="from 0 to 1"):
        blend(one, one, 1.5, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.fixture(scope="module", params=["clip", "open_clip"])
def tuned(request: pytest.FixtureRequest, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A joint model's address, and the model of a short run that began from it."""
    from diptych import runs

    folder = request.getfixturevalue(f"{request.param}_folder")
    address = f"{'hf' if request.param == 'clip' else 'open_clip'}:{folder}"
    config = {
        "name": "tuned",
        "init": address,
        "data": {"views": ["full"], "workers": 1},
        "training": {"epochs": 1, "batch_size": 20, "learning_rate": 1e-2, "precision": "32-true"},
    }
    run = runs.train(config, str(shapes), tmp_path_factory.mktemp("tuned"), device="cpu")
    return address, run.model_folder


def test_a_joint_model_and_the_run_that_began_from_it(tuned: tuple[str, Path], shapes: Path, tmp_path: Path) -> None:
    before, after = map(diptych.load, tuned)
    images, texts = sorted(shapes.parent.glob("*-30.png")), ["a red circle", "blaues Quadrat", "stripe in green"]
    wanted = before.encode_images(images), before.encode_texts(texts)
    for share, near in ((0, 1e-3), (0.001, 0.05)):
        blend(before, after, share, tmp_path / "made")
        made = diptych.load(tmp_path / "made")
        assert np.allclose(made.encode_images(images), wanted[0], atol=near)
        assert np.allclose(made.encode_texts(texts), wanted[1], atol=near)
    assert not np.allclose(after.encode_images(images), wanted[0], atol=0.05)
    blend(before, after, 1, tmp_path / "made")
    assert diptych.load(tmp_path / "made").fingerprint == after.fingerprint
    config = blend(before, after, 0.5, tmp_path / "made")
    scales = before.config.logit_scale, after.config.logit_scale
    assert config.logit_scale == pytest.approx(math.sqrt(scales[0] * scales[1]))
    states = [model.torch().text.state_dict() for model in (diptych.load(tmp_path / "made"), after)]
    key = next(key for key, value in states[0].items() if value.ndim == 2 and value.numel() > 100)
    assert not torch.allclose(states[0][key], states[1][key], atol=1e-3)


def test_a_joint_model_that_a_run_did_not_begin_from(
    clip_folder: Path, open_clip_folder: Path, two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = (diptych.load(f"{name}:{at}") for name, at in (("hf", clip_folder), ("open_clip", open_clip_folder)))
    with pytest.raises(ModelError, match="another library's model"):
        blend(one, other, 0.5, tmp_path / "made")
    with pytest.raises(ModelError, match="did not begin"):
        blend(one, diptych.load(two[0]), 0.5, tmp_path / "made")
