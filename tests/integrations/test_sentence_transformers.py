"""A dual encoder as a SentenceTransformer: the same embeddings, saved and opened again."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from diptych import DataError, ModelError, load

from .frameworks import needs

sentence_transformers = needs("sentence_transformers")

from diptych.integrations.sentence_transformers import as_sentence_transformer  # noqa: E402

TEXTS = ["a red circle", "ein blaues Quadrat", ""]


def images(shapes: Path) -> list[Path]:
    return sorted(shapes.parent.glob("*-20.png"))[:3]


@pytest.fixture(params=["folder", "joint"])
def address(request: pytest.FixtureRequest) -> str:
    if request.param == "joint":
        return f"hf:{request.getfixturevalue('clip_folder')}"
    return str(request.getfixturevalue("small_model"))


def test_texts_and_images_are_embedded_as_by_the_model(address: str, shapes: Path, tmp_path: Path) -> None:
    model, files = load(address), images(shapes)
    wrapped = as_sentence_transformer(address)
    np.testing.assert_allclose(wrapped.encode(TEXTS), model.encode_texts(TEXTS), atol=1e-6)
    expected = model.encode_images(files)
    opened = [PIL.Image.open(file) for file in files]
    for given in (opened, [{"image": image} for image in opened], [str(file) for file in files]):
        np.testing.assert_allclose(wrapped.encode(given), expected, atol=1e-6)
    planes = [np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in opened]
    np.testing.assert_allclose(wrapped.encode(planes), expected, atol=1e-6)
    np.testing.assert_allclose(wrapped.encode(["red"], prompt="a "), model.encode_texts(["a red"]), atol=1e-6)
    scores = wrapped.similarity(wrapped.encode(TEXTS), expected)
    np.testing.assert_allclose(scores, model.encode_texts(TEXTS) @ expected.T, atol=1e-5)
    assert wrapped.get_embedding_dimension() == model.dim

    wrapped.save(str(tmp_path / "saved"))
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    np.testing.assert_allclose(again.encode(TEXTS), model.encode_texts(TEXTS), atol=1e-6)


def test_what_was_saved_says_so_when_it_is_another_model_by_now(small_model: Path, tmp_path: Path) -> None:
    as_sentence_transformer(small_model).save(str(tmp_path / "saved"))
    (facts,) = tmp_path.glob("saved/*/diptych.json")
    facts.write_text(facts.read_text().replace(load(small_model).fingerprint, "0" * 32))
    with pytest.raises(ModelError, match="save it again"):
        sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True)


def test_an_image_that_cannot_be_read_is_named(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        as_sentence_transformer(small_model).encode([str(tmp_path / "bad.png")])
