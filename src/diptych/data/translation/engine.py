"""What a translation engine offers, what engines share, and an engine for tests that needs no packages."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from diptych.core.errors import ConfigError
from diptych.core.registry import register


@runtime_checkable
class Translator(Protocol):
    """Texts of one language to texts of another. Languages are ISO 639-1 codes ("en", "es")."""

    @property
    def name(self) -> str:
        """What the engine is called in files and reports."""
        ...

    def supports(self, source: str, target: str) -> bool:
        """Whether the engine translates from `source` to `target`, without loading what that takes."""
        ...

    def fingerprint(self, source: str, target: str) -> str:
        """Changes when the same text could come out in other words; raises as `translate` does."""
        ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """A translation of each text, in order; lines stay lines.

        Raises DataError when a text among them cannot be translated (the caller then finds out which);
        ConfigError or ModelError when the direction, a program or a model is not there.
        """
        ...


def require_direction(translator: Translator, source: str, target: str, choices: str) -> None:
    """Raise ConfigError, with the `choices`, for a direction that the engine does not have."""
    if not translator.supports(source, target):
        raise ConfigError(f"{translator.name} does not translate {source} to {target}; choose from {choices}")


def by_lines(texts: Sequence[str], translate: Callable[[list[str]], Sequence[str]]) -> list[str]:
    """`translate` on all lines of all texts that are not blank; each text gets its own lines back.

    Lines come without control characters and with single blanks. A blank line stays blank.
    """
    lines = [_one_line(line) for text in texts for line in text.split("\n")]
    translated = iter(translate([line for line in lines if line]))
    done = iter([next(translated) if line else "" for line in lines])
    return ["\n".join(next(done) for _ in text.split("\n")) for text in texts]


def _one_line(text: str) -> str:
    return " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).split())


@register.translator("fake", "marks the words, for tests")
class FakeTranslator:
    """Marks each word with the target language: "a dog" -> "es:a es:dog"; back again it loses its articles.

    Deterministic, for tests. English, Spanish, Catalan and German among each other.
    """

    LANGUAGES = frozenset({"en", "es", "ca", "de"})
    name = "fake"

    def supports(self, source: str, target: str) -> bool:
        """Whether both languages are among LANGUAGES."""
        return source != target and {source, target} <= self.LANGUAGES

    def fingerprint(self, source: str, target: str) -> str:
        """Always the same."""
        return f"fake-{source}-{target}"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Each word with its language before it, or without it on the way back."""
        require_direction(self, source, target, ", ".join(sorted(self.LANGUAGES)))
        return ["\n".join(_marked(line, source, target) for line in text.split("\n")) for text in texts]


def _marked(line: str, source: str, target: str) -> str:
    words = line.split()
    if any(word.startswith(f"{source}:") for word in words):
        bare = [word.removeprefix(f"{source}:") for word in words]
        return " ".join(word for word in bare if word.lower() not in ("a", "the"))
    return " ".join(f"{target}:{word}" for word in words)
