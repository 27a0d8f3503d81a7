"""MTEB's and MIEB's protocols: a dual encoder as an encoder, a cross-encoder as a cross-encoder.

import mteb
from diptych.integrations.mteb import DiptychEncoder

mteb.evaluate(DiptychEncoder("hf:openai/clip-vit-base-patch32"), mteb.get_tasks(tasks=["Flickr30kT2IRetrieval"]))
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

from diptych.core.batched import batched
from diptych.core.errors import DataError
from diptych.core.protocols import CrossEncoder
from diptych.core.shapes import Float32
from diptych.models import DualEncoder, as_model
from diptych.models.cross_encoder import load_cross_encoder

_IMAGES = 64  # whose tokens are held at once


class DiptychEncoder(AbsEncoder):
    """A dual encoder: texts, images, or (summed and normalised) both at once, by the cosine.

    Args:
        model: the dual encoder, or its address.
        revision, options: what MTEB hands over; unused, because an address pins its revision.
    """

    def __init__(self, model: DualEncoder | str | Path = "base", revision: str | None = None, **options: Any) -> None:
        del revision, options
        self.model = as_model(model)
        self.mteb_model_meta = _meta(
            self.model, embed_dim=self.model.dim, max_tokens=self.model.text_tower.max_tokens, loader=DiptychEncoder
        )

    def encode(self, inputs: Iterable[Any], **_: Any) -> Float32[np.ndarray, "n d"]:
        """Embeddings of the texts or images of a loader's batches; of both, their mean direction.

        Raises DataError for an image that cannot be read, and for batches with neither.
        """
        rows = [np.zeros((0, self.model.dim), dtype=np.float32)]
        for batch in inputs:
            found = []
            if "text" in batch:
                found.append(self.model.encode_texts(list(batch["text"])))
            if "image" in batch:
                found.append(self.model.encode_images(list(batch["image"])))
            if not found:
                raise DataError(f"found batches of {', '.join(batch)}; this model embeds text and image")
            if len(found) == 2:
                both = found[0] + found[1]
                found = [both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-12)]
            rows.append(found[0])
        return np.concatenate(rows)


class DiptychCrossEncoder:
    """A cross-encoder: how well each image and text of two loaders belong together.

    Args:
        model: the cross-encoder, or its address.
        revision, options: what MTEB hands over; unused.
    """

    def __init__(self, model: CrossEncoder | str | Path, revision: str | None = None, **options: Any) -> None:
        del revision, options
        self.model = load_cross_encoder(model) if isinstance(model, str | Path) else model
        self.mteb_model_meta = _meta(self.model, loader=DiptychCrossEncoder)

    def predict(self, inputs1: Iterable[Any], inputs2: Iterable[Any], **_: Any) -> Float32[np.ndarray, " n"]:
        """A score for each pair; higher is a better match. One side must be texts, the other images.

        Raises DataError for two sides of one kind, or of different lengths.
        """
        sides = [_of(inputs1), _of(inputs2)]
        kinds = [kind for kind, _ in sides]
        if sorted(kinds) != ["image", "text"] or len(sides[0][1]) != len(sides[1][1]):
            found = " and ".join(f"{len(values)} of {kind}" for kind, values in sides)
            raise DataError(f"found {found}; a cross-encoder scores as many images as texts")
        images, texts = (dict(sides)[kind] for kind in ("image", "text"))
        scores = np.zeros(len(images), dtype=np.float32)
        for part in batched(range(len(images)), _IMAGES):
            tokens = self.model.encode_pixels(_pixels(self.model, [images[place] for place in part]))
            for text in {texts[place] for place in part}:
                own = [row for row, place in enumerate(part) if texts[place] == text]
                scores[[part[row] for row in own]] = self.model.score(tokens[own], text)
        return scores


def _pixels(model: CrossEncoder, images: list[Any]) -> Any:
    from diptych.data.images import prepared

    return np.stack([prepared(image, model.preprocess) for image in images])


def _of(inputs: Iterable[Any]) -> tuple[str, list[Any]]:
    """The kind of a loader's values, and all of them."""
    kind, values = "", list[Any]()
    for batch in inputs:
        kind = "image" if "image" in batch else "text"
        values += list(batch[kind])
    return kind, values


def _meta(model: Any, **facts: Any) -> Any:
    """The facts that MTEB keeps with its results; the revision is the model's fingerprint."""
    name = str(model.name).rpartition(":")[2].strip("/") or "model"
    return ModelMeta.create_empty(
        overwrites={
            "name": name if name.count("/") == 1 else f"diptych/{name.rpartition('/')[2]}",
            "revision": model.fingerprint,
            "similarity_fn_name": ScoringFunction.COSINE,
            "modalities": ["text", "image"],
            "framework": ["PyTorch"],
            **facts,
        }
    )
