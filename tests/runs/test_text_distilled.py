"""A text side in several languages, taught by a joint model's text side: its targets by hand, and a run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import torch

import diptych
from diptych import runs
from diptych.cli.app import run as command
from diptych.core.config import Part, load
from diptych.core.errors import ConfigError, DataError
from diptych.core.types import Text
from diptych.encoders import text_tower
from diptych.encoders.none import NONE, NoImages
from diptych.models.heads import LinearHead
from diptych.models.save import TrainedSide, save
from diptych.runs.text_distilled import TextDistilledConfig
from diptych.training.settings import TrainingSettings
from diptych.training.text_targets import text_targets

TEXTS = [
    Text("a dog", "en", meaning=0),
    Text("two dogs", "en", meaning=1),
    Text("ein Hund", "de", meaning=0),
    Text("zwei Hunde", "de"),  # states no original
    Text("un gato", "es", meaning=0),  # of a record without an English text
    Text("a cat"),  # of no stated language
]
OWNER = [0, 0, 0, 0, 1, 2]


def test_targets_by_hand() -> None:
    vectors = {0: [1.0, 0.0], 1: [0.0, 1.0], 5: [0.6, 0.8]}
    asked: list[Any] = []

    def encode(rows: Any) -> Any:
        asked.append(rows)
        return np.array([vectors[row] for row in rows], dtype=np.float32)

    found = text_targets(OWNER, TEXTS, "en")
    assert found.texts.tolist() == [0, 1, 2, 3, 5]
    assert (found.unpaired, found.without) == (1, 1)
    half = 0.5**0.5
    assert found.vectors(encode) == pytest.approx(np.array([[1, 0], [0, 1], [1, 0], [half, half], [0.6, 0.8]]))
    assert asked == [[0, 1, 5]]  # each original once
    strict = text_targets(OWNER, TEXTS, "en", unpaired=False)
    assert (strict.texts.tolist(), strict.unpaired, strict.without) == ([0, 1, 2, 5], 0, 2)
    with pytest.raises(DataError, match="no text in 'fr'"):
        text_targets([0], [Text("ein Hund", "de")], "fr")


def student(**changes: Any) -> TextDistilledConfig:
    values: dict[str, Any] = {
        "name": "multilingual",
        "text": runs.SideSettings(Part("fake"), head=Part("mlp", {"hidden": 64, "input_dropout": 0.0, "dropout": 0.0})),
        "data": runs.DataConfig(workers=1),
        "training": TrainingSettings(precision="32-true", epochs=15, batch_size=20, learning_rate=1e-2),
    }
    return TextDistilledConfig(**values | changes)


@pytest.fixture(scope="module")
def taught(small_model: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[runs.Run, str]:
    address = str(small_model)
    return runs.distill(student(), str(shapes), address, out=tmp_path_factory.mktemp("taught"), device="cpu"), address


def centred(vectors: Any, centre: Any) -> Any:
    left = vectors - centre
    return left / np.linalg.norm(left, axis=1, keepdims=True)


def test_the_student_gives_the_teachers_vectors_in_both_languages(taught: Any, shapes: Path) -> None:
    run, address = taught
    model, teacher = run.model, diptych.load(address)
    wanted = teacher.encode_texts(["a red circle", "a blue square", "a green stripe"])
    english = model.encode_texts(["a red circle", "a blue square", "a green stripe"])
    # German texts, which state no original here, have the mean of their record's English ones
    german = model.encode_texts(["rotes Rund", "blaues Quadrat", "grünes Band"])
    centre = wanted.mean(0)
    for given in (english, german):
        likeness = centred(given, centre) @ centred(wanted, centre).T
        assert likeness.argmax(1).tolist() == [0, 1, 2]
        assert likeness.diagonal().min() > 0.5
    assert np.allclose(model.encode_images(shapes.parent / "red-circle-20.png"),
                       teacher.encode_images(shapes.parent / "red-circle-20.png"), atol=1e-6)  # fmt: skip
    notes = {note.kind: note for note in run.notes}
    assert notes["unpaired_text"].count == 35
    (found,) = run.before_after
    assert list(found.rows) == ["teacher", "after"]
    assert f"image side: that of {teacher.name}" in (run.model_folder / "README.md").read_text()


def test_a_joint_models_images_and_temperature_stay(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    address = f"hf:{clip_folder}"
    config = student(training=dataclasses.replace(student().training, epochs=1))
    run = runs.distill(config, str(shapes), address, out=tmp_path, device="cpu")
    model, teacher = run.model, diptych.load(address)
    images = sorted(shapes.parent.glob("*-20.png"))
    assert np.allclose(model.encode_images(images), teacher.encode_images(images), atol=1e-5)
    assert model.config.logit_scale == pytest.approx(teacher.config.logit_scale)
    assert model.config.image.tower.startswith("hf:")


def test_a_teacher_of_texts_alone_has_a_student_of_texts_alone(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sides = [
        TrainedSide(NoImages(16), Part(NONE, {"dim": 16}), Part("identity"), None),
        TrainedSide(text_tower("fake"), Part("fake"), Part("linear"), LinearHead(32, 16).eval()),
    ]
    save(tmp_path / "teacher", name="t", image=sides[0], text=sides[1], dim=16, card="t", training={})
    run = runs.distill(student(), str(shapes), str(tmp_path / "teacher"), out=tmp_path / "run", device="cpu")
    assert not run.model.has_images
    assert run.scores["t2o R@1"] > 60  # of 12 records; by chance 8
    texts = ["a red circle", "a blue square", "a green stripe"]
    taught, given = (diptych.load(tmp_path / name).encode_texts(texts) for name in ("teacher", "run/model"))
    assert (taught @ given.T).argmax(1).tolist() == [0, 1, 2]
    assert "image side: none, as the teacher has none" in (run.model_folder / "README.md").read_text()


def test_lora_is_merged_and_not_named_by_the_saved_model(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    address = f"hf:{clip_folder}"
    network = Part("joint_text", {"model": address, "lora": {"rank": 2}})
    side = runs.SideSettings(Part(f"tokens:{address}"), network, Part("linear"))
    config = student(text=side, training=dataclasses.replace(student().training, epochs=1))
    run = runs.distill(config, str(shapes), address, out=tmp_path, device="cpu")
    saved = run.model.config.text.network
    assert saved is not None
    assert saved.options == {"model": address}


def test_the_same_command_ends_with_the_same_model(taught: Any, shapes: Path) -> None:
    run, address = taught
    again = runs.distill(student(), str(shapes), address, out=run.folder, device="cpu")
    assert again.model.fingerprint == diptych.load(run.model_folder).fingerprint
    with pytest.raises(ConfigError, match="unpaired: True -> False"):
        runs.distill(student(unpaired=False), str(shapes), address, out=run.folder, device="cpu")


def test_from_the_command_line_with_a_model_of_ours(
    tiny_model: Any, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = tiny_model(tmp_path / "teacher")
    config = tmp_path / "multilingual.toml"
    config.write_text(
        'name = "m"\nkind = "distilled-text"\n[text]\ntower = "words"\nnetwork = "bag"\n'
        "[training]\nepochs = 1\nbatch_size = 20\n"
    )
    line = ["distill", str(config), str(shapes), "--teacher", str(teacher), "--out", str(tmp_path / "out")]
    assert command([*line, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = diptych.load(found["model"])
    assert model.config.image == diptych.load(teacher).config.image
    assert model.languages == frozenset({"en", "de"})
    assert command([*line, "--model", "base"]) == 2
    assert "the student of a distilled text side" in capsys.readouterr().err


def test_the_shipped_config_and_what_is_refused(small_model: Path) -> None:
    folder = Path(__file__).parents[2] / "configs" / "finetune"
    config = load(TextDistilledConfig, folder / "multilingual.toml")
    assert (config.original, config.unpaired, config.tower.name) == ("en", True, "use")
    with pytest.raises(ConfigError, match=r"data\.together has no effect"):
        student(data=runs.DataConfig(together=2))
    with pytest.raises(ConfigError, match=r"training\.chunk"):
        student(training=dataclasses.replace(config.training, chunk=4))
    with pytest.raises(ConfigError, match="no teacher"):
        runs.distill(student(), "nowhere.csv")
