"""One loaded model behind two batchers: texts to vectors, pixels to vectors."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.inputs import grey_pixels
from diptych.library import Encoder, as_queries
from diptych.library import query as queries

from .batching import Batcher
from .metrics import Metrics
from .settings import Pressure

_IMAGES = 4  # at once: more are no faster on a CPU, and ONNX Runtime keeps the memory of its largest batch for good
_REMEMBERED = 512  # vectors of the latest texts: a query that is typed is sent several times on the way

Vector = Float32[np.ndarray, "d"]


def refuse_spoken(model: Encoder) -> None:
    """Raise ConfigError for a model whose texts are names of files: anyone who asks could have any file here read."""
    if getattr(model, "hears_texts", False):
        raise ConfigError(
            f"the texts of the model {model.name!r} are names of files on this machine, which must not come from "
            "others; search with diptych search, or from Python"
        )


class Embedder:
    """Vectors from one model, batched. `name` is what the API calls it."""

    def __init__(self, name: str, model: Encoder, pressure: Pressure, metrics: Metrics) -> None:
        refuse_spoken(model)
        self.name, self.model = name, model
        self._most = min(_IMAGES, pressure.max_batch, pressure.queue)
        self._texts = self._batcher("text", self._encode_texts, pressure, metrics, pressure.max_batch)
        apart = getattr(getattr(model, "config", None), "query", None) is not None  # queries have a side of their own
        self._queries = self._texts
        if apart:
            self._queries = self._batcher("query", self._encode_queries, pressure, metrics, pressure.max_batch)
        self._pixels = self._batcher("image", self._encode_pixels, pressure, metrics, self._most)
        self._remembered: OrderedDict[tuple[bool, str], Vector] = OrderedDict()

    @property
    def languages(self) -> list[str]:
        """ISO 639-1 codes that the text tower was made for; empty when unknown."""
        return sorted(getattr(self.model, "languages", ()))

    async def texts(self, texts: Sequence[str], *, ask: bool = False) -> list[Vector]:
        """Unit vectors of texts, or of texts that `ask` for others. Raises the first problem, if there is one."""
        batcher = self._queries if ask else self._texts
        asks = batcher is not self._texts
        known = {text: self._remembered.get((asks, text)) for text in texts}  # now: others may push them out meanwhile
        new = [text for text, vector in known.items() if vector is None]
        fresh = dict(zip(new, _raised(await batcher.submit_all(new)), strict=True)) if new else {}
        vectors = [fresh[text] if (vector := known[text]) is None else vector for text in texts]
        for text, vector in zip(texts, vectors, strict=True):
            self._remembered[asks, text] = vector
            self._remembered.move_to_end((asks, text))
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return vectors

    async def unread(self, texts: Sequence[str]) -> list[str]:
        """A sentence where words are longer than the model reads."""
        found = await asyncio.to_thread(queries.unread, texts, self.model)
        return [] if found is None else [found]

    async def image(self, pixels: UInt8[np.ndarray, "hh ww 3"]) -> Vector:
        """The unit vector of a decoded image."""
        return await self._pixels.submit(pixels)

    async def warm(self) -> None:
        """Load both towers, by using them, and take what memory a full batch needs: now, not under load."""
        if not getattr(self.model, "has_images", True):
            await self.check()
            return
        blank = grey_pixels(self.model.preprocess)[0]
        _, embedded = await asyncio.gather(self.check(), self._pixels.submit_all([blank] * self._most))
        _raised(embedded)

    async def check(self) -> float:
        """Embed a text for real, never from memory. Returns the seconds it took."""
        started = asyncio.get_running_loop().time()
        _raised(await self._texts.submit_all(["health"]))
        return asyncio.get_running_loop().time() - started

    async def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the texts have; words where the model cannot tell."""
        tower = getattr(self.model, "text_tower", None)
        if tower is None:
            return sum(len(text.split()) for text in texts)
        return int(sum(await asyncio.to_thread(tower.count_tokens, list(texts))))

    async def close(self) -> None:
        """Finish what was accepted."""
        await asyncio.gather(*(each.close() for each in {self._texts, self._queries, self._pixels}))

    @staticmethod
    def _batcher(kind: str, work: object, pressure: Pressure, metrics: Metrics, most: int) -> Batcher[object, Vector]:
        def count(size: int, waiting: int) -> None:
            metrics.batch.labels(kind).observe(size)
            metrics.waiting.labels(kind).set(waiting)

        return Batcher(
            kind,
            work,  # type: ignore[arg-type]
            max_batch=most,
            max_wait=pressure.max_wait,
            queue=pressure.queue,
            on_batch=count,
        )

    def _encode_texts(self, texts: Sequence[str]) -> list[Vector]:
        return list(normalise(self.model.encode_texts(list(texts))))

    def _encode_queries(self, texts: Sequence[str]) -> list[Vector]:
        return list(normalise(as_queries(self.model)(list(texts))))

    def _encode_pixels(self, images: Sequence[UInt8[np.ndarray, "hh ww 3"]]) -> list[Vector]:
        return list(normalise(self.model.encode_pixels(np.stack(list(images)))))


def _raised(results: Sequence[Vector | BaseException]) -> list[Vector]:
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
