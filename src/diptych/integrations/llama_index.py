"""LlamaIndex's MultiModalEmbedding: texts and images in one space.

from diptych.integrations.llama_index import DiptychEmbedding

embedding = DiptychEmbedding(model_name="base")
embedding.get_query_embedding("a dog on the beach"), embedding.get_image_embedding("dog.jpg")
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.embeddings import MultiModalEmbedding

from diptych.models import DualEncoder, load

Row = list[float]


class DiptychEmbedding(MultiModalEmbedding):
    """Embeddings of unit length.

    Args:
        model_name: the dual encoder's address.
        embed_batch_size: texts or images that are embedded at once.
    """

    _model: DualEncoder = PrivateAttr()

    def __init__(self, model_name: str = "base", **options: Any) -> None:
        super().__init__(model_name=model_name, **options)
        self._model = load(model_name)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex stores it."""
        return "DiptychEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[Row]:
        return _rows(self._model.encode_texts(texts))

    def _get_text_embedding(self, text: str) -> Row:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Row:
        return _rows(self._model.encode_queries([query]))[0]

    async def _aget_query_embedding(self, query: str) -> Row:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_image_embeddings(self, img_file_paths: Sequence[Any]) -> list[Row]:
        """Raises DataError, with the name, for the first image that cannot be read."""
        return _rows(self._model.encode_images([_image(given) for given in img_file_paths]))

    def _get_image_embedding(self, img_file_path: Any) -> Row:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: Any) -> Row:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)


def _image(given: Any) -> Any:
    """A path, or the bytes of an open file."""
    return given.read() if hasattr(given, "read") else given


def _rows(embeddings: Any) -> list[Row]:
    return [[float(number) for number in row] for row in embeddings]
