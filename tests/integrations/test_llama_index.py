"""LlamaIndex's MultiModalEmbedding."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest

from diptych import DataError, load

from .frameworks import needs

needs("llama_index.core")

from diptych.integrations.llama_index import DiptychEmbedding  # noqa: E402


def test_texts_and_images(small_model: Path, shapes: Path) -> None:
    model, files = load(small_model), [str(file) for file in sorted(shapes.parent.glob("*-20.png"))[:3]]
    embedding = DiptychEmbedding(str(small_model), embed_batch_size=2)
    texts = ["a red circle", "a blue square", "one more"]
    np.testing.assert_allclose(embedding.get_text_embedding_batch(texts), model.encode_texts(texts), atol=1e-6)
    np.testing.assert_allclose(embedding.get_query_embedding("a"), model.encode_texts("a")[0], atol=1e-6)
    expected = model.encode_images(files)
    np.testing.assert_allclose(embedding.get_image_embedding_batch(files), expected, atol=1e-6)
    opened = io.BytesIO(Path(files[0]).read_bytes())
    np.testing.assert_allclose(embedding.get_image_embedding(opened), expected[0], atol=1e-6)
    np.testing.assert_allclose(asyncio.run(embedding.aget_image_embedding(files[1])), expected[1], atol=1e-6)
    np.testing.assert_allclose(asyncio.run(embedding.aget_query_embedding("a")), model.encode_texts("a")[0], atol=1e-6)
    with pytest.raises(DataError, match=r"nowhere\.png"):
        embedding.get_image_embedding("nowhere.png")


def test_it_is_stored_by_its_address(small_model: Path) -> None:
    stored = DiptychEmbedding(str(small_model)).to_dict()
    again = DiptychEmbedding.from_dict(stored)
    assert again.model_name == str(small_model)
    np.testing.assert_allclose(again.get_text_embedding("a"), load(small_model).encode_texts("a")[0], atol=1e-6)
