"""Training within one modality, and pictures that are embedded once for all their texts."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych  # noqa: E402
from diptych import losses, runs  # noqa: E402
from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, DataError  # noqa: E402
from diptych.data.features import Selection, collect  # noqa: E402
from diptych.runs import parts, towers  # noqa: E402
from diptych.training.batch_order import (  # noqa: E402
    BatchRows,
    PairShares,
    SecondRows,
)
from diptych.training.settings import TrainingSettings  # noqa: E402

FAST = TrainingSettings(precision="32-true", epochs=2, batch_size=30, learning_rate=3e-3)


def train(config: Any, out: Path, source: Path, **options: Any) -> runs.Run:
    return runs.train(config, str(source), out, device="cpu", **options)


def text_to_text(model: Path, pairs: list[Any]) -> float:
    """R@1 of the texts by each other, the slow and obvious way."""
    texts = [text.value for pair in pairs for text in pair.texts]
    owner = np.repeat(np.arange(len(pairs)), [len(pair.texts) for pair in pairs])
    vectors = diptych.load(model).encode_texts(texts)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return 100 * float(np.mean(owner[cosines.argmax(1)] == owner))


def test_learning_from_texts_makes_texts_find_each_other(shapes: Path, tmp_path: Path, small: Any) -> None:
    settings = TrainingSettings(precision="32-true", epochs=8, batch_size=30, learning_rate=1e-2)
    across = train(small(training=settings), tmp_path / "across", shapes)
    texts = train(
        small(training=settings, pairs=PairShares(across=0.0, texts=1.0), init=str(across.model_folder), dim=0),
        tmp_path / "texts",
        shapes,
    )
    pairs = runs.read_splits(runs.DataConfig(), str(shapes)).val
    assert text_to_text(texts.model_folder, pairs) > text_to_text(across.model_folder, pairs)
    assert set(texts.scores) == {"score", "t2t R@1", "t2t R@5", "t2t R@10"}
    assert texts.scores["t2t R@1"] == pytest.approx(text_to_text(texts.model_folder, pairs), abs=100 / 30 + 0.01)
    before, after = diptych.load(across.model_folder), diptych.load(texts.model_folder)
    pictures = sorted(shapes.parent.glob("*-30.png"))
    assert np.allclose(before.encode_images(pictures), after.encode_images(pictures), atol=1e-5)  # nothing moved them


def test_all_kinds_at_once_are_measured_and_learn(shapes: Path, tmp_path: Path, small: Any) -> None:
    report = train(small(training=FAST, pairs=PairShares(1.0, 1.0, 1.0)), tmp_path / "run", shapes)
    kinds = {name.split()[0] for name in report.scores} - {"score"}
    assert kinds == {"i2t", "t2i", "t2t", "i2i"}
    assert report.scores["score"] == pytest.approx(
        sum(value for name, value in report.scores.items() if name != "score"), abs=0.02
    )


def test_a_run_within_a_modality_resumes_exactly(shapes: Path, tmp_path: Path, small: Any) -> None:
    config = small(training=FAST, pairs=PairShares(0.5, 1.0, 1.0))
    whole = train(config, tmp_path / "whole", shapes)
    short = dataclasses.replace(config, training=dataclasses.replace(FAST, patience=0))

    class StopError(Exception):
        pass

    class Stopping:
        def say(self, text: str) -> None:
            if text.startswith("epoch 1/"):
                raise StopError

        def track(self, items: Any, *_: Any, **__: Any) -> Any:
            return items

    with pytest.raises(StopError):
        train(short, tmp_path / "broken", shapes, progress=Stopping())
    resumed = train(config, tmp_path / "broken", shapes)
    assert diptych.load(resumed.model_folder).fingerprint == diptych.load(whole.model_folder).fingerprint


def test_what_nothing_would_train_is_refused(small: Any) -> None:
    with pytest.raises(ConfigError, match=r"nothing would train the image side: pairs\.across and pairs\.images are 0"):
        small(pairs=PairShares(0.0, 1.0, 0.0))


@pytest.mark.parametrize(
    "loss",
    [
        Part("adversarial"),
        Part("combined", {"parts": [{"name": "info_nce"}, {"name": "adversarial"}]}),
    ],
)
def test_losses_that_tell_the_modalities_apart_are_refused(
    loss: Part, shapes: Path, tmp_path: Path, small: Any
) -> None:
    with pytest.raises(ConfigError, match="treats images and texts differently"):
        train(small(training=FAST, loss=loss, pairs=PairShares(1.0, 1.0)), tmp_path / "run", shapes)


def test_instances_are_told_apart_within_a_modality(shapes: Path, tmp_path: Path, small: Any) -> None:
    loss = Part("instance_discrimination", {"queue": 30, "wait": 0.0})
    settings = dataclasses.replace(FAST, epochs=3, chunk=8)  # the loss hears of both sides from cached chunks too
    run = train(small(training=settings, loss=loss, pairs=PairShares(0.0, 1.0, 1.0)), tmp_path / "run", shapes)
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert (logged[-1]["image_queue"], logged[-1]["text_queue"]) == (30, 30)
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert set(run.scores) == {"score", *(f"{way} R@{cut}" for way in ("t2t", "i2i") for cut in (1, 5, 10))}


def test_the_order_of_two_texts_is_not_theirs_to_compare_by(small: Any) -> None:
    with pytest.raises(ConfigError, match="cannot compare two texts"):
        small(loss=Part("info_nce", {"similarity": "order"}), pairs=PairShares(1.0, 1.0))


def test_two_texts_have_a_distance(shapes: Path, tmp_path: Path, small: Any) -> None:
    loss = Part("max_hinge", {"similarity": "l2", "margin": 0.3, "warmup_epochs": 0})
    run = train(small(training=FAST, loss=loss, pairs=PairShares(1.0, 1.0)), tmp_path / "run", shapes)
    assert run.model.compares_by == "l2"
    report = diptych.evaluate(run.model, str(shapes), split="val", resamples=0)
    assert 100 * report.text_to_image["R@1"] == pytest.approx(run.scores["t2i R@1"], abs=0.01)
    among = diptych.evaluate(run.model, str(shapes), modality="text-text", split="val", resamples=0).evaluation
    found = 100 * among.directions["text_to_text"].metrics["R@1"].value
    assert found == pytest.approx(run.scores["t2t R@1"], abs=0.01)


def test_single_texts_cannot_be_measured_by_each_other(shapes: Path, tmp_path: Path, small: Any) -> None:
    data = runs.DataConfig(views=("full", "flip"), langs=("de",), workers=1)
    with pytest.raises(DataError, match="nothing to find"):
        train(small(training=FAST, data=data, pairs=PairShares(1.0, 1.0)), tmp_path / "run", shapes)


def test_a_picture_of_several_rows_is_embedded_once(shapes: Path, cache: Path, small: Any) -> None:
    config = small().resolved()
    both = towers.image_tower(config.image.tower), towers.text_tower(config.text.tower, list)
    pairs = runs.read_splits(config.data, str(shapes)).train
    rows = collect(pairs, *both, cache / "features", Selection(("full", "flip")))
    module = parts.build(config, both, 0, 2).eval()
    seen: list[int] = []
    module.image.register_forward_hook(lambda _module, inputs, _out: seen.append(len(inputs[0])))
    image, view = np.array([3, 3, 5, 3, 3, 5]), np.array([0, 0, 1, 1, 0, 1])
    batch = BatchRows(image, view, np.array([9, 10, 15, 11, 11, 16]), image)
    embedded = module.embed(rows, batch, None)
    assert seen == [3]
    for place in range(6):
        alone = module.embed(rows, batch[place : place + 1], None)
        assert torch.allclose(alone.image[0], embedded.image[place], atol=1e-6)
        assert torch.allclose(alone.text[0], embedded.text[place], atol=1e-6)
    within = dataclasses.replace(batch, kind="images", second=SecondRows(image, np.ones(6, dtype=np.int64)))
    looks = module.embed(rows, within, None)
    assert torch.allclose(looks.text[0], embedded.image[3], atol=1e-6)
    assert isinstance(looks, losses.Embedded)


def test_texts_dealt_together_train_a_model(shapes: Path, tmp_path: Path, small: Any) -> None:
    data = runs.DataConfig(views=("full", "flip"), together=3, workers=1)
    report = train(small(training=FAST, data=data), tmp_path / "run", shapes)
    assert report.scores["score"] > 0


def test_texts_dealt_together_are_not_dealt_by_mined_negatives_too() -> None:
    with pytest.raises(ConfigError, match="set it to 0"):
        runs.DataConfig(together=3, mined="mined.jsonl")
