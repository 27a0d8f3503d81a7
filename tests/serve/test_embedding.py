"""One model behind the service: how many images go through it at once, and what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest

from diptych.core.protocols import Preprocess
from diptych.encoders.inputs import check_pixels
from diptych.serve.embedding import Embedder
from diptych.serve.metrics import Metrics
from diptych.serve.settings import Pressure

from .conftest import MOSAIC

T = TypeVar("T")


class Counting:
    """The mosaic encoder; notes how many inputs came together."""

    def __init__(self) -> None:
        self._encoder = MOSAIC.MosaicEncoder()
        self.name, self.fingerprint, self.dim = "mosaic", self._encoder.fingerprint, self._encoder.dim
        self.preprocess = self._encoder.preprocess
        self.images: list[int] = []
        self.texts: list[int] = []

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        self.images.append(len(pixels))
        vectors: np.ndarray = self._encoder.encode_pixels(pixels)
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.texts.append(len(texts))
        vectors: np.ndarray = self._encoder.encode_texts(texts)
        return vectors

    def encode_images(self, images: Sequence[object]) -> np.ndarray:
        vectors: np.ndarray = self._encoder.encode_images(images)
        return vectors


def run(
    scenario: Callable[[Embedder], Awaitable[T]], pressure: Pressure | None = None, model: Counting | None = None
) -> tuple[T, Counting]:
    """What the scenario gives, and the model that it used."""
    model = model or Counting()

    async def whole() -> T:
        embedder = Embedder("mosaic", model, pressure or Pressure(max_wait=0.01), Metrics())
        result = await scenario(embedder)
        await embedder.close()
        return result

    return asyncio.run(whole()), model


def blank(embedder: Embedder) -> np.ndarray:
    size = embedder.model.preprocess.size
    return np.zeros((size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize(("max_batch", "most"), [(16, 4), (2, 2)])
def test_images_go_four_at_once_and_a_full_batch_is_taken_at_the_start(max_batch: int, most: int) -> None:
    # the runtime never gives back the memory of its largest batch: whatever comes later fits into the first one's
    async def scenario(embedder: Embedder) -> None:
        await embedder.warm()
        await asyncio.gather(*(embedder.image(blank(embedder)) for _ in range(10)))

    _, model = run(scenario, Pressure(max_batch=max_batch, max_wait=0.01))
    assert model.images[0] == most
    assert max(model.images) == most
    assert sum(model.images) == most + 10


def test_texts_asked_for_twice_are_embedded_once_and_health_is_never_from_memory() -> None:
    async def scenario(embedder: Embedder) -> list[np.ndarray]:
        first = await embedder.texts(["red", "blue", "red"])
        again = await embedder.texts(["blue", "green"])
        await embedder.check()
        await embedder.check()
        return [*first, *again]

    vectors, model = run(scenario)
    assert model.texts == [2, 1, 1, 1]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[1], vectors[3])
    assert not np.array_equal(vectors[0], vectors[4])


def test_a_model_of_packed_patches_is_warmed_by_images_that_it_takes() -> None:
    """Zeros would state no patches at all, which a tower refuses."""
    preprocess = Preprocess(32, "patches", patch=8)

    class Packed(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.preprocess = preprocess

        def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
            check_pixels(pixels, preprocess)
            return super().encode_pixels(pixels[:, :32])

    _, model = run(lambda embedder: embedder.warm(), model=Packed())
    assert model.images
