"""Training a dual encoder on images that are augmented while training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych import runs  # noqa: E402
from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.data.online import OnlineImages  # noqa: E402
from diptych.models import load  # noqa: E402
from diptych.training.settings import TrainingSettings  # noqa: E402

AUGMENTED = OnlineImages(workers=0, random_crop=(0.6, 1.0), flip=0.5)
BRIEF = TrainingSettings(precision="32-true", epochs=2, batch_size=20, learning_rate=1e-2, tensorboard=False)


def data(**changes: Any) -> Any:
    return runs.DataConfig(workers=1, images=dataclasses.replace(AUGMENTED, **changes))


def backbone() -> Any:
    options = {"model": "resnet10t", "pretrained_weights": False, "rate": 1.0, "frozen_epochs": 1}
    return runs.SideSettings(Part("pixels", {"size": 32}), Part("backbone", options), Part("linear"))


def best(folder: Path) -> bytes:
    return (folder / "best.safetensors").read_bytes()


def test_a_frozen_tower_learns_from_augmented_images_alike_with_any_workers(
    shapes: Path, tmp_path: Path, small: Any
) -> None:
    for name, workers in (("here", 0), ("two", 2)):
        config = small(training=BRIEF, data=data(workers=workers))
        report = runs.train(config, str(shapes), tmp_path / name, device="cpu")
        assert {Path(skip.name).name for skip in report.skipped} >= {"bad.png"}  # found before the first epoch
        assert report.records == {"train": 35, "val": 10}
    assert best(tmp_path / "here") == best(tmp_path / "two")
    rows = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert all(row["images_per_second"] > 0 for row in rows)


def test_a_backbone_is_fine_tuned_from_images_and_searches_like_any_model(
    shapes: Path, tmp_path: Path, small: Any
) -> None:
    pytest.importorskip("timm", reason="needs the [train] extra")
    config = small(image=backbone(), training=dataclasses.replace(BRIEF, epochs=2), data=data(flip=0.0))
    report = runs.train(config, str(shapes), tmp_path, device="cpu")
    model = load(str(report.model_folder))
    image = shapes.parent / "red-circle-20.png"
    assert model.encode_images([image]).shape == (1, 16)
    again = runs.train(dataclasses.replace(config, data=data(flip=0.0, workers=1)), str(shapes), tmp_path, device="cpu")
    assert again.fits[0].epochs == 2  # the number of workers is no other run


def test_another_augmentation_is_another_run(shapes: Path, tmp_path: Path, small: Any) -> None:
    brief = dataclasses.replace(BRIEF, epochs=1)
    runs.train(small(training=brief, data=data()), str(shapes), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match=r"config\.data\.images\.flip: 0\.5 -> 0\.1"):
        runs.train(small(training=brief, data=data(flip=0.1)), str(shapes), tmp_path, device="cpu")


def test_images_of_a_pair_within_the_modality_are_two_augmented_views(shapes: Path, tmp_path: Path, small: Any) -> None:
    shares = runs.config.PairShares(across=0.5, images=0.5)
    report = runs.train(small(training=BRIEF, data=data(), pairs=shares), str(shapes), tmp_path, device="cpu")
    assert {"i2i R@1", "i2t R@1"} <= set(report.scores)


def test_what_uses_no_augmented_images_refuses_them(small: Any) -> None:
    linear = runs.SideSettings(Part("fake"), head=Part("linear"))
    with pytest.raises(ConfigError, match=r"leave out \[data\.images\]"):
        small(loss=None, fit=Part("cca"), image=linear, text=linear, data=data())
    with pytest.raises(ConfigError, match=r"leave out \[data\.images\]"):
        runs.DistilledConfig(name="student", kind="distilled", teacher="blip:any", data=data())
