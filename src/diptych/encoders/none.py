"""A side that a model does not have: it was trained on texts alone, or on images alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from diptych.core import fingerprint
from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.core.registry import register

NONE = "none"  # the name of both towers
NO_IMAGES = "the model has no image side: it was trained on texts alone; choose one that has it, such as base"
NO_TEXTS = "the model has no text side: it was trained on images alone; choose one that has it, such as base"


@register.image_tower("none", "no image side: for a model of texts alone")
class NoImages:
    """In place of an image tower. Whatever asks it for features gets a ModelError.

    Args:
        dim: width of the shared space, as the model has it.
    """

    preprocess = Preprocess(1)  # of no meaning; what a tower has

    def __init__(self, dim: int = 1) -> None:
        self.dim = dim
        self.fingerprint = fingerprint.of_json([NONE])

    def embed(self, pixels: object) -> NoReturn:
        """Raises ModelError."""
        raise ModelError(NO_IMAGES)


@register.text_tower("none", "no text side: for a model of images alone")
class NoTexts:
    """In place of a text tower. Whatever asks it for features gets a ModelError.

    Args:
        dim: width of the shared space, as the model has it.
    """

    max_tokens = None
    languages: frozenset[str] = frozenset()

    def __init__(self, dim: int = 1) -> None:
        self.dim = dim
        self.fingerprint = fingerprint.of_json([NONE])

    def embed(self, texts: Sequence[str]) -> NoReturn:
        """Raises ModelError."""
        raise ModelError(NO_TEXTS)

    def count_tokens(self, texts: Sequence[str]) -> NoReturn:
        """Raises ModelError."""
        raise ModelError(NO_TEXTS)
