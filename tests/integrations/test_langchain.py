"""LangChain's Embeddings, in its own vector store."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from diptych import DataError, load

from .frameworks import needs

needs("langchain_core")

from langchain_core.vectorstores import InMemoryVectorStore  # noqa: E402

from diptych.integrations.langchain import DiptychEmbeddings  # noqa: E402


def test_texts_and_images(small_model: Path, shapes: Path) -> None:
    model, files = load(small_model), sorted(shapes.parent.glob("*-20.png"))[:3]
    embeddings = DiptychEmbeddings(small_model)
    np.testing.assert_allclose(embeddings.embed_documents(["a", "b"]), model.encode_texts(["a", "b"]), atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_image(files), model.encode_images(files), atol=1e-6)
    np.testing.assert_allclose(asyncio.run(embeddings.aembed_query("a")), model.encode_texts("a")[0], atol=1e-6)
    with pytest.raises(DataError, match=r"nowhere\.png"):
        embeddings.embed_image([files[0], "nowhere.png"])


def test_in_a_vector_store(small_model: Path) -> None:
    texts = ["a red circle", "a blue square", "a green triangle"]
    store = InMemoryVectorStore(DiptychEmbeddings(small_model))
    store.add_texts(texts)
    found = [store.similarity_search(text, k=1)[0].page_content for text in texts]
    assert found == texts
