"""What `import diptych` gives: every public name, lazily, and the functions as a user calls them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diptych
from diptych.core.errors import ConfigError, DataError
from diptych.evaluation import Positives, ranks_from_scores

PACKAGES = (
    "core data encoders evaluation inspection library losses models runs serve synthesis training".split()  # noqa: SIM905
)


def test_the_front_door_is_light_and_whole() -> None:
    script = (
        "import sys, diptych; heavy = {'torch', 'numpy', 'PIL', 'onnxruntime', 'lancedb'} & set(sys.modules); "
        "assert not heavy, heavy; assert dir(diptych) == sorted(diptych.__all__)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    for name in diptych.__all__:
        assert getattr(diptych, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diptych.nonsense  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_says_what_is_in_it_and_gives_its_names(name: str) -> None:
    package = importlib.import_module(f"diptych.{name}")
    assert len((package.__doc__ or "").split()) > 12
    for public in getattr(package, "__all__", ()):
        assert getattr(package, public) is not None


def test_parts_are_reached_from_the_front_door() -> None:
    pytest.importorskip("torch")
    assert diptych.losses.InfoNCE(temperature=0.1) is not None
    assert diptych.training.Trainer.__name__ == "Trainer"
    ranks = ranks_from_scores(np.eye(2)[::-1].copy(), Positives.from_labels(np.arange(2), np.arange(2)))
    assert diptych.metrics.recall_at(ranks, 1).tolist() == [0.0, 0.0]


CONFIG = {
    "name": "small",
    "image": {"tower": "fake", "head": "linear"},
    "text": {"tower": "fake", "head": "linear"},
    "loss": "info_nce",
    "dim": 16,
    "data": {"views": ["full"], "workers": 1},
    "training": {"precision": "32-true", "epochs": 2, "batch_size": 30, "learning_rate": 3e-3},
}


def test_training_from_a_mapping_and_a_list_of_pairs(shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pairs = list(diptych.open_source(str(shapes)))
    run = diptych.train(CONFIG, pairs, tmp_path / "run", seed=3, device="cpu")
    assert run.folder == tmp_path / "run"
    assert run.model.encode_texts("a red circle").shape == (1, 16)
    assert run.model.config.training["config"]["seed"] == 3
    assert run.scores["score"] > 0
    assert run.records == {"train": 35, "val": 10}
    by_path = diptych.train(CONFIG, shapes, tmp_path / "path", seed=3, device="cpu")
    assert by_path.model.fingerprint == run.model.fingerprint


def test_training_from_a_file_needs_a_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "x"\nfit = "cca"\n[image]\ntower = "fake"\nhead = "linear"\n[text]\ntower = "fake"\n')
    with pytest.raises(ConfigError, match="no source to train on"):
        diptych.train(str(file), overrides=['text.head="linear"'])


def test_a_fit_is_computed_without_training(shapes: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "fit": "cca", "dim": 8}
    del config["loss"]
    run = diptych.train(config, shapes, tmp_path / "run")
    assert run.fits == ()
    assert run.model.dim == 8
    again = diptych.evaluate(run.model, shapes, split="val", resamples=0)
    assert 100 * again.text_to_image["R@5"] == pytest.approx(run.scores["t2i R@5"], abs=0.01)
    assert again.rsum == pytest.approx(run.scores["score"], abs=0.05)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "x", "kind": "crossencoder"}, "unknown kind 'crossencoder'; choose from cross-encoder, distilled"),
        ({"name": "x", "xmc": {}}, "unknown key 'xmc'.*names no kind, so it was read as \"dual-encoder\""),
        ({"name": "x", "kind": "generator", "dim": 3}, "unknown key 'dim'"),
        ({"name": "x", "kind": "distilled"}, "no teacher to distil from"),
    ],
)
def test_a_config_of_no_kind_or_of_another_is_refused(config: dict[str, Any], message: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ConfigError, match=message):
        diptych.train(config, "nowhere")


def test_embeddings_made_elsewhere_are_measured() -> None:
    images = np.eye(4)
    texts = np.repeat(images, 2, axis=0)
    texts[0] = images[1]  # one text of the first image is nearest to the second
    report = diptych.evaluate(images=images, texts=texts, owner=np.arange(8) // 2, resamples=0, name="mine")
    assert report.text_to_image["R@1"] == 7 / 8
    assert report.image_to_text["R@1"] == 3 / 4  # a tie counts against: the second image has a wrong text as near
    assert report.rsum == pytest.approx(100 * (7 / 8 + 3 / 4 + 4))
    assert "# Retrieval: mine on arrays" in str(report)
    assert report.to_json()["text_to_image"]["metrics"]["R@1"]["value"] == 7 / 8
    with pytest.raises(ConfigError, match="8 texts of 4 images: say by owner="):
        diptych.evaluate(images=images, texts=texts)
    with pytest.raises(ConfigError, match="give one of the two"):
        diptych.evaluate("base")
    with pytest.raises(ConfigError, match="give one of the two"):
        diptych.evaluate("base", "x", images=images, texts=texts)


def test_models_are_compared_on_the_same_queries(tiny_model: Any, shapes: Path, tmp_path: Path) -> None:
    one, other = (tiny_model(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "other")))
    found = diptych.compare([one, f"second={other}"], shapes, split="val", resamples=20)
    assert list(found.runs) == ["one", "second"]
    assert "| second |" in found.table(["R@1"])
    report = diptych.evaluate(one, shapes, split="val", resamples=0)
    again = diptych.compare([report, diptych.load(other)], shapes, split="val", resamples=20)
    assert again.runs["one"]["rsum"].value == found.runs["one"]["rsum"].value
    with pytest.raises(ConfigError, match="found 1 models"):
        diptych.compare([one], shapes)
    with pytest.raises(ConfigError, match="is no report file; to measure it as a model, give a source"):
        diptych.compare([str(one), str(other)])


def test_images_and_hits_are_reranked(cross_encoder_run: Any, small_model: Path, shapes: Path, tmp_path: Path) -> None:
    files = [shapes.parent / f"{colour}-square-30.png" for colour in ("blue", "red", "green")]
    model, reranker = diptych.load(small_model), str(cross_encoder_run.model)
    hits = diptych.rerank("a red square", [*files, shapes.parent / "bad.png"], reranker, model=model, beta=0.0)
    assert len(hits) == 3
    assert [hit.rank for hit in hits] == [0, 1, 2]
    assert Path(hits[0].path or "").name == "red-square-30.png"
    assert hits[0].score >= hits[1].score >= hits[2].score
    again = diptych.rerank("a red square", hits, reranker, model=model, beta=0.0, k=2)
    assert [hit.id for hit in again] == [hit.id for hit in hits]
    gone = diptych.Hit(0, "gone", 0.9, str(tmp_path / "gone.png"))
    assert [hit.id for hit in diptych.rerank("a red square", [gone, *hits], reranker, model=model, beta=0.0)] == [
        *(hit.id for hit in hits),
        "gone",
    ]
    with pytest.raises(DataError, match="has no image file"):
        diptych.rerank("a red square", [diptych.Hit(0, "x", 0.5)], reranker, model=model, beta=1.0)


def test_images_are_generated_from_words() -> None:
    made = diptych.generate(["a red apple", "ein grüner Apfel"], seed=1)
    assert made.shape == (2, 64, 64, 3)
    alone = diptych.generate("a red apple", seed=1)
    # products of other sizes are summed in another order, which may round a colour the other way
    assert np.abs(made[:1].astype(int) - alone).max() <= 1
