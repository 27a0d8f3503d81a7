"""MTEB's protocols, in its own evaluation of its own made-up tasks."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych import DataError, load

from .frameworks import needs

mteb = needs("mteb")

from mteb.mocks.mock_tasks.retrieval import MockAny2AnyRetrievalI2TTask, MockAny2AnyRetrievalT2ITask  # noqa: E402
from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol  # noqa: E402

from diptych.integrations.mteb import DiptychCrossEncoder, DiptychEncoder  # noqa: E402


def task_of(kind: Any) -> Any:
    task = kind()
    task.load_data()
    return task


def side(task: Any, name: str) -> dict[str, Any]:
    (split,) = task.dataset["default"].values()
    data = split[name]
    return dict(zip(data["id"], data["image" if "image" in data.features else "text"], strict=True))


def ndcg(scores: np.ndarray) -> float:
    """One relevant item of two for each query, on the diagonal."""
    first = scores.diagonal() > np.fliplr(scores).diagonal()
    return float(np.where(first, 1, 1 / np.log2(3)).mean())


@pytest.mark.parametrize("kind", [MockAny2AnyRetrievalI2TTask, MockAny2AnyRetrievalT2ITask])
def test_a_dual_encoder_in_a_retrieval_task(small_model: Path, kind: Any) -> None:
    model, task = load(small_model), task_of(kind)
    encoder = DiptychEncoder(model)
    assert isinstance(encoder, EncoderProtocol)
    result = mteb.evaluate(encoder, task, cache=None, co2_tracker=False, show_progress_bar=False)
    rows = []
    for name in ("queries", "corpus"):
        values = list(side(task, name).values())
        is_text = isinstance(values[0], str)
        rows.append(model.encode_texts(values) if is_text else model.encode_images(values))
    assert result.task_results[0].get_score() == pytest.approx(ndcg(rows[0] @ rows[1].T), abs=1e-4)
    assert encoder.mteb_model_meta.revision == model.fingerprint


def test_text_and_image_together_are_their_mean_direction(small_model: Path, shapes: Path) -> None:
    image = PIL.Image.open(sorted(shapes.parent.glob("*-20.png"))[0])
    model = load(small_model)
    found = DiptychEncoder(model).encode([{"text": ["a red circle"], "image": [image]}])
    both = model.encode_texts("a red circle") + model.encode_images(image)
    np.testing.assert_allclose(found, both / np.linalg.norm(both), atol=1e-6)
    with pytest.raises(DataError, match="found batches of audio"):
        DiptychEncoder(model).encode([{"audio": [0]}])


def test_a_cross_encoder_scores_pairs(cross_encoder_run: Any, shapes: Path) -> None:
    scorer = DiptychCrossEncoder(cross_encoder_run.model)
    assert isinstance(scorer, CrossEncoderProtocol)
    images = [PIL.Image.open(file) for file in sorted(shapes.parent.glob("*-20.png"))[:3]]
    texts = ["a red circle", "a blue square", "a red circle"]
    tokens = scorer.model.encode_images(images)
    expected = [float(scorer.model.score(tokens[[place]], text)[0]) for place, text in enumerate(texts)]
    loaders = [{"text": texts[:2]}, {"text": texts[2:]}], [{"image": images}]
    np.testing.assert_allclose(scorer.predict(*loaders), expected, atol=1e-4)
    np.testing.assert_allclose(scorer.predict(*loaders[::-1]), expected, atol=1e-4)
    with pytest.raises(DataError, match="as many images as texts"):
        scorer.predict([{"text": texts}], [{"text": texts}])


def test_a_cross_encoder_in_a_reranking_task(cross_encoder_run: Any) -> None:
    task = task_of(MockAny2AnyRetrievalT2ITask)
    (split,) = task.dataset["default"].values()
    split["top_ranked"] = {query: ["d1", "d2"] for query in ("q0", "q1")}
    scorer = DiptychCrossEncoder(cross_encoder_run.model)
    result = mteb.evaluate(scorer, task, cache=None, co2_tracker=False, show_progress_bar=False)
    tokens = scorer.model.encode_images(list(side(task, "corpus").values()))
    scores = np.stack([scorer.model.score(tokens, text) for text in side(task, "queries").values()])
    assert result.task_results[0].get_score() == pytest.approx(ndcg(scores), abs=1e-4)
