"""Spoken texts: files of sound in the place of texts, which some text towers read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diptych.core.errors import ConfigError
from diptych.core.types import Text
from diptych.data.cache import content_key

SPOKEN = "spoken"  # the name of the text tower that reads them


def hears(tower: Any) -> bool:
    """Whether a text tower takes the names of files of sound in place of words."""
    return hasattr(tower, "content")


def check_spoken(texts: Iterable[Text], tower: Any) -> None:
    """Raise ConfigError where texts are spoken and the tower reads words, or the other way round."""
    spoken = {text.is_sound for text in texts}
    if True in spoken and not hears(tower):
        raise ConfigError(
            "the texts are files of sound, and the model reads words; name columns of words with --text-columns, or "
            'train a model with text.tower = "spoken" (configs/methods/spoken.toml)'
        )
    if False in spoken and hears(tower):
        raise ConfigError(
            "the texts are words, and the text side of the model takes files of sound; name the column that holds "
            "them, such as --text-columns audio"
        )


def text_key(text: str, tower: Any) -> bytes:
    """The key of a text in a cache: of its words or, where the tower reads the file that it names, of its bytes."""
    return content_key(tower.content(text) if hears(tower) else text.encode("utf-8", "surrogatepass"))
