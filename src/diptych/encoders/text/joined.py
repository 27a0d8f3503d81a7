"""Several frozen text towers side by side; their features are concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import inf

import numpy as np

from diptych.core import fingerprint
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.protocols import TextTower
from diptych.core.registry import register
from diptych.core.shapes import Float32


@register.text_tower("joined", "several of these side by side, by its option towers")
class JoinedTextTower:
    """The features of several towers, each brought to unit length, one after the other.

    `towers` are names of text towers ("use", "hf:FOLDER"). Its languages are those that
    all of them have. Raises ConfigError for fewer than two.
    """

    def __init__(self, towers: Sequence[str]) -> None:
        from diptych.encoders import text_tower

        if isinstance(towers, str) or len(towers) < 2:
            raise ConfigError(
                f"joined towers are a list of at least two names, found {towers!r}; for one, name it alone"
            )
        self._towers: list[TextTower] = [text_tower(name) for name in towers]

    @cached_property
    def dim(self) -> int:
        """The towers' widths together."""
        return sum(tower.dim for tower in self._towers)

    @cached_property
    def fingerprint(self) -> str:
        """Of all towers, in their order."""
        return fingerprint.combined([tower.fingerprint for tower in self._towers])

    @cached_property
    def languages(self) -> frozenset[str]:
        """What all towers that say so were made for."""
        stated = [tower.languages for tower in self._towers if tower.languages]
        return frozenset.intersection(*stated) if stated else frozenset()

    @property
    def max_tokens(self) -> int | None:
        """The smallest limit of any tower."""
        limits = [tower.max_tokens for tower in self._towers if tower.max_tokens is not None]
        return min(limits) if limits else None

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Features of texts."""
        return np.concatenate([normalise(tower.embed(texts)) for tower in self._towers], axis=1)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text for the tower that cuts it; where none does, for the one that reads the fewest.

        So a count is above `max_tokens` for the texts alone that a tower does not read whole.
        """
        limits = [inf if tower.max_tokens is None else tower.max_tokens for tower in self._towers]
        counts = zip(*(tower.count_tokens(texts) for tower in self._towers), strict=True)
        return [max(zip(found, limits, strict=True), key=_excess)[0] for found in counts]


def _excess(counted: tuple[int, float]) -> tuple[float, float]:
    """Order of a tower's count and limit: by the tokens it cuts, then the lowest limit first."""
    count, limit = counted
    return max(0, count - limit), -limit
