"""Haystack's components: embedders of queries, and of documents with a text or an image.

from diptych.integrations.haystack import DiptychDocumentEmbedder, DiptychTextEmbedder

documents = DiptychDocumentEmbedder().run([Document(meta={"file_path": "dog.jpg"})])["documents"]
query = DiptychTextEmbedder().run("a dog on the beach")["embedding"]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from diptych.core.errors import DataError
from diptych.core.types import BytesImage, Skipped
from diptych.models import DualEncoder, load


class _Embedder:
    """What both share: a model by its address, loaded by `warm_up` or the first run, and written as its address."""

    def __init__(self, model: str = "base") -> None:
        self.model = model
        self._loaded: DualEncoder | None = None

    def warm_up(self) -> None:
        """Load the model."""
        self._encoder()

    def _encoder(self) -> DualEncoder:
        if self._loaded is None:
            self._loaded = load(self.model)
        return self._loaded

    def to_dict(self) -> dict[str, Any]:
        """As a pipeline is saved."""
        found: dict[str, Any] = default_to_dict(self, model=self.model)
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """What `to_dict` wrote."""
        return default_from_dict(cls, data)


@component
class DiptychTextEmbedder(_Embedder):
    """A query's embedding."""

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """The embedding, of unit length."""
        return {"embedding": self._encoder().encode_queries(text)[0].tolist()}


@component
class DiptychDocumentEmbedder(_Embedder):
    """Documents with their embeddings: of the image where they have one, else of the text.

    An image is the document's `blob`, or the file that its meta names as `file_path`.
    """

    @component.output_types(documents=list[Document], skipped=list[dict[str, Any]])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """New documents with embeddings, and what was skipped: images that cannot be read, by name and reason.

        Raises DataError for a document with neither an image nor a text.
        """
        encoder = self._encoder()
        images = {place: image for place, one in enumerate(documents) if (image := _image(one)) is not None}
        texts = {place: one.content for place, one in enumerate(documents) if place not in images}
        for place, text in texts.items():
            if not text:
                raise DataError(f"the document {documents[place].id} has neither a text nor an image")
        rows: dict[int, Any] = {}
        skipped: list[Skipped] = []
        for place, image in images.items():
            found = encoder.encode_images([image], skipped=skipped)
            if len(found):
                rows[place] = found[0]
        if texts:
            rows |= dict(zip(texts, encoder.encode_texts([str(text) for text in texts.values()]), strict=True))
        return {
            "documents": [replace(documents[place], embedding=rows[place].tolist()) for place in sorted(rows)],
            "skipped": [one.to_json() for one in skipped],
        }


def _image(document: Document) -> Any:
    if document.blob is not None:
        return BytesImage(document.blob.data, document.id)
    return document.meta.get("file_path")
