"""LangChain's Embeddings, for texts and, by `embed_image`, for images.

from diptych.integrations.langchain import DiptychEmbeddings

embeddings = DiptychEmbeddings("base")
embeddings.embed_query("a dog on the beach"), embeddings.embed_image(["dog.jpg"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_core.embeddings import Embeddings

from diptych.data.image_inputs import ImageInput
from diptych.models import DualEncoder, as_model


class DiptychEmbeddings(Embeddings):
    """Embeddings of unit length, as lists of numbers; texts and images are in one space.

    Args:
        model: the dual encoder, or its address.
    """

    def __init__(self, model: DualEncoder | str | Path = "base") -> None:
        self.model = as_model(model)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embeddings of texts."""
        return [[float(number) for number in row] for row in self.model.encode_texts(texts)]

    def embed_query(self, text: str) -> list[float]:
        """Embedding of one text that asks for others."""
        return [float(number) for number in self.model.encode_queries(text)[0]]

    def embed_image(self, uris: Sequence[ImageInput]) -> list[list[float]]:
        """Embeddings of image files (or of encoded bytes, PIL images, arrays).

        Raises DataError, with the name, for the first that cannot be read: rows must keep to their images.
        """
        return [[float(number) for number in row] for row in self.model.encode_images(list(uris))]
