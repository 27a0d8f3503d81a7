"""Several text towers side by side: the features of frozen ones, and behind them the token ids of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.protocols import TextTower
from diptych.core.registry import build, part_of, register
from diptych.core.shapes import Float32
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens, counts_where_cut, least_limit
from diptych.encoders.text.tokens import TokenTower

JOINED = "joined"


@register.text_tower("joined", "several of these side by side, by its option towers; the last may give token ids")
def joined_tower(towers: Sequence[Any]) -> JoinedTextTower | FeaturesAndTokens:
    """Frozen towers side by side, and behind them a tokenizer where the last of `towers` is one.

    Each is a name ("use", "hf:FOLDER", "tokens:FOLDER"), a table of a name and options, or a tower. Raises ConfigError
    for fewer than two, or for token ids in another place than the last.
    """
    made = built(towers)
    *frozen, last = made
    if any(isinstance(tower, TokenTower | FeaturesAndTokens) for tower in frozen) or isinstance(
        last, FeaturesAndTokens
    ):
        raise ConfigError(
            "of joined towers the last alone may give token ids; name it last, once, as in "
            'towers = ["use", "wordpiece"]'
        )
    if not isinstance(last, TokenTower):
        return JoinedTextTower(made)
    return FeaturesAndTokens(frozen[0] if len(frozen) == 1 else JoinedTextTower(frozen), last)


def built(towers: Sequence[Any]) -> list[TextTower]:
    """The towers that are named. Raises ConfigError for fewer than two."""
    if isinstance(towers, str) or len(towers) < 2:
        found = repr(towers) if isinstance(towers, str) else f"{len(towers)}"
        raise ConfigError(f"joined towers are a list of at least two names, found {found}; for one, name it alone")
    made: list[TextTower] = []
    for tower in towers:
        if isinstance(tower, TextTower):
            made.append(tower)
        else:
            made.append(build("text_tower", part_of(tower, "a joined tower")))
    return made


class JoinedTextTower:
    """The features of several towers, each brought to unit length, one after the other.

    `towers` are names of text towers ("use", "hf:FOLDER"), or towers. Its languages are those that
    all of them have. Raises ConfigError for fewer than two.
    """

    def __init__(self, towers: Sequence[Any]) -> None:
        self.towers = built(towers)

    @cached_property
    def dim(self) -> int:
        """The towers' widths together."""
        return sum(tower.dim for tower in self.towers)

    @cached_property
    def fingerprint(self) -> str:
        """Of all towers, in their order."""
        return fingerprint.combined([tower.fingerprint for tower in self.towers])

    @cached_property
    def languages(self) -> frozenset[str]:
        """What all towers that say so were made for."""
        stated = [tower.languages for tower in self.towers if tower.languages]
        return frozenset.intersection(*stated) if stated else frozenset()

    @property
    def max_tokens(self) -> int | None:
        """The smallest limit of any tower."""
        return least_limit(self.towers)

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Features of texts."""
        return np.concatenate([normalise(tower.embed(texts)) for tower in self.towers], axis=1)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text for the tower that cuts it; see `counts_where_cut`."""
        return counts_where_cut(self.towers, texts)
