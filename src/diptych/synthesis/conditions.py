"""What a generator is conditioned on: a text tower's features, or the shared space of a dual encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych import encoders
from diptych.core.config import Part, check_options
from diptych.core.errors import ConfigError
from diptych.core.protocols import TextTower
from diptych.core.shapes import Float32, UInt8
from diptych.models import load
from diptych.models.dual import DualEncoder

ENCODER = "encoder:"
_OF_MODEL = "model:"


class EncoderTexts:
    """The text side of a dual encoder as a text tower: embeddings in the space that images share."""

    def __init__(self, encoder: DualEncoder) -> None:
        self.encoder = encoder
        self.dim = encoder.config.dim
        self.fingerprint = f"{encoder.config.fingerprint} texts"

    @property
    def languages(self) -> frozenset[str]:
        """Those of the encoder's text tower."""
        return self.encoder.text_tower.languages

    @property
    def max_tokens(self) -> int | None:
        """That of the encoder's text tower."""
        return self.encoder.text_tower.max_tokens

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """L2-normalised embeddings."""
        return self.encoder.encode_texts(list(texts))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As the encoder's text tower counts."""
        return self.encoder.text_tower.count_tokens(texts)


class EncoderImages:
    """The image side of a dual encoder, tower and head, as one image tower."""

    def __init__(self, encoder: DualEncoder) -> None:
        self.encoder = encoder
        self.dim = encoder.config.dim
        self.fingerprint = f"{encoder.config.fingerprint} images"
        self.preprocess = encoder.preprocess

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """L2-normalised embeddings."""
        return self.encoder.encode_pixels(pixels)


def text_tower(part: Part) -> TextTower:
    """A tower of the table, that of a saved model ("model:base"), or a model's shared space ("encoder:base").

    Raises ConfigError for one that gives token ids and no features.
    """
    for prefix in (_OF_MODEL, ENCODER):
        if part.name.startswith(prefix):
            check_options(part.options, (), f"text tower {part.name!r}")
            model = load(part.name.removeprefix(prefix))
            tower: TextTower = EncoderTexts(model) if prefix == ENCODER else model.text_tower
            break
    else:
        tower = encoders.text_tower(part.name, **part.options)
    if getattr(tower, "storage", "float16") != "float16":
        raise ConfigError(
            f"the text tower {part.name!r} gives token ids, and a generator needs features; choose use, "
            "hf:NAME_OR_FOLDER, or the space of a trained model with encoder:NAME_OR_FOLDER"
        )
    return tower
