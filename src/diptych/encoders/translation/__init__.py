"""Translation engines that need PyTorch or CTranslate2, registered by name with those of `diptych.data.translation`."""

from __future__ import annotations

from diptych.core.registry import Part, build
from diptych.data.translation import Translator

__all__ = ["translator"]


def translator(name: str, *, device: str = "auto") -> Translator:
    """The engine of that name: "apertium", "marian", "marian:models/{source}-{target}", ...

    Raises ConfigError for an unknown name, or a model where there is none to name.
    """
    found: Translator = build("translator", Part(name), device=device)
    return found
