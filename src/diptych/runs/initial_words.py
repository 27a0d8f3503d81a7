"""What a config's `vectors` names: a text tower, or a file of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core import registry
from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float32, Int64
from diptych.data.features import text_rows
from diptych.data.spoken import hears
from diptych.encoders.text.tokens import TokenTower
from diptych.models.cross_encoder.initial_words import Lookup
from diptych.models.networks.word_vectors import read_vectors, width_of

from . import towers
from .run import RunContext


def words_lookup(named: str, place: RunContext) -> Lookup:
    """The vectors of words by a text tower, which are cached, or those of a file.

    Raises ConfigError for a tower that gives no vectors, or a name that is neither, DataError for a file of another
    kind.
    """
    path = Path(named).expanduser()
    if not (registry.has("text_tower", named) or named.startswith(towers.OF_MODEL)):
        if not path.is_file():
            there = ", ".join(sorted(entry.usage for entry in registry.entries("text_tower").values()))
            raise ConfigError(
                f"network.vectors = {named!r} is neither a file of word vectors nor one of the text towers {there}"
            )
        width_of(path)  # a file of another kind is refused before anything is trained
        return lambda words: read_vectors(path, {word: number for number, word in enumerate(words)})
    part = Part(named)
    tower = None if towers.trains_tokenizer(part) else towers.text_tower(part, list, device=place.device)
    if tower is None or isinstance(tower, TokenTower) or hears(tower):
        raise ConfigError(f"the text tower {named!r} has no vectors of words; choose another as network.vectors: use")

    def embedded(words: Sequence[str]) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, "k d"]]:
        every = np.arange(len(words))
        return every, np.asarray(text_rows(words, tower, place.features, place.progress)[every], dtype=np.float32)

    return embedded
