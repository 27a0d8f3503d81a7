"""An embedding function of LanceDB: vectors of a column of images or texts, and of queries, by a dual encoder.

import diptych.integrations.lancedb  # registers it as "diptych"
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector

function = get_registry().get("diptych").create(model="base")

class Photo(LanceModel):
    path: str = function.SourceField()
    vector: Vector(function.ndims()) = function.VectorField()

table.search("a dog on the beach").limit(5).to_pydantic(Photo)
"""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
from lancedb.embeddings import EmbeddingFunction, register

from diptych.core.errors import ConfigError
from diptych.core.types import Skipped
from diptych.models import DualEncoder, load


class SkippedImages(UserWarning):
    """Images that have no vector because they cannot be read."""


@register("diptych")
class DiptychFunction(EmbeddingFunction):
    """A query is a text, or an image (PIL image, array or encoded bytes); a column holds images or texts.

    Args:
        model: the dual encoder's address.
        column: what the source column holds: "images" (paths, file addresses or encoded bytes) or "texts".
        max_retries: none, because what fails here fails again.
    """

    model: str = "base"
    column: str = "images"
    max_retries: int = 0

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        if self.column not in ("images", "texts"):
            raise ConfigError(f"unknown column {self.column!r}; choose from images, texts")

    @cached_property
    def _encoder(self) -> DualEncoder:
        return load(self.model)

    def ndims(self) -> int:
        """Width of the vectors."""
        return self._encoder.dim

    def compute_query_embeddings(self, query: Any, *_: Any, **__: Any) -> list[Any]:
        """The vector of a text or an image."""
        encode = self._encoder.encode_queries if isinstance(query, str) else self._encoder.encode_images
        return list(encode(query))

    def compute_source_embeddings(self, inputs: Any, *_: Any, **__: Any) -> list[Any]:
        """Vectors of the source column; None for an image that cannot be read, which a warning names."""
        given = list(self.sanitize_input(inputs))
        if self.column == "texts":
            return list(self._encoder.encode_texts([str(text) for text in given]))
        found: list[Any] = []
        skipped: list[Skipped] = []
        for image in given:
            row = self._encoder.encode_images([_local(image)], skipped=skipped)
            found.append(np.asarray(row[0]) if len(row) else None)
        if skipped:
            named = "; ".join(f"{one.name} ({one.reason.value})" for one in skipped[:5])
            more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
            warnings.warn(f"{len(skipped)} images have no vector: {named}{more}", SkippedImages, stacklevel=2)
        return found


def _local(image: Any) -> Any:
    """A path for a file address; http is not fetched, and so is no file."""
    if isinstance(image, str) and image.startswith("file:"):
        return Path(url2pathname(urlparse(image).path))
    return image
