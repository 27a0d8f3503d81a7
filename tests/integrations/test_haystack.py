"""Haystack's embedders, in a pipeline over its own document store."""

from pathlib import Path

import numpy as np
import pytest

from diptych import DataError, load

from .frameworks import needs

needs("haystack")

from haystack import Document, Pipeline  # noqa: E402
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever  # noqa: E402
from haystack.dataclasses import ByteStream  # noqa: E402
from haystack.document_stores.in_memory import InMemoryDocumentStore  # noqa: E402

from diptych.integrations.haystack import DiptychDocumentEmbedder, DiptychTextEmbedder  # noqa: E402


def test_documents_with_images_and_texts(small_model: Path, shapes: Path) -> None:
    model, (one, other, *_) = load(small_model), sorted(shapes.parent.glob("*-20.png"))
    documents = [
        Document(id="file", meta={"file_path": str(one)}),
        Document(id="text", content="a red circle"),
        Document(id="bad", meta={"file_path": "nowhere.png"}),
        Document(id="blob", blob=ByteStream(other.read_bytes())),
    ]
    found = DiptychDocumentEmbedder(str(small_model)).run(documents)
    assert [document.id for document in found["documents"]] == ["file", "text", "blob"]
    assert [(skip["name"], skip["reason"]) for skip in found["skipped"]] == [("nowhere.png", "missing")]
    expected = [model.encode_images(one)[0], model.encode_texts("a red circle")[0], model.encode_images(other)[0]]
    np.testing.assert_allclose([document.embedding for document in found["documents"]], expected, atol=1e-6)
    assert documents[0].embedding is None
    with pytest.raises(DataError, match="neither a text nor an image"):
        DiptychDocumentEmbedder(str(small_model)).run([Document(meta={"page": 1})])


def test_in_a_pipeline_that_is_saved_and_loaded(small_model: Path) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    texts = ["a red circle", "a blue square"]
    store.write_documents(
        DiptychDocumentEmbedder(str(small_model)).run([Document(content=text) for text in texts])["documents"]
    )
    pipeline = Pipeline()
    pipeline.add_component("embedder", DiptychTextEmbedder(str(small_model)))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    for text in texts:
        assert pipeline.run({"embedder": {"text": text}})["retriever"]["documents"][0].content == text
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["diptych.integrations.haystack"])
    assert again.get_component("embedder").model == str(small_model)
