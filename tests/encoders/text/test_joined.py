"""Towers side by side."""

from collections.abc import Sequence

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.protocols import TextTower
from diptych.encoders import text_tower
from diptych.encoders.fake import FakeTextTower
from diptych.encoders.text.joined import JoinedTextTower


def test_each_part_is_its_towers_features_at_unit_length() -> None:
    joined = text_tower("joined", towers=["fake", "fake"])
    assert isinstance(joined, TextTower)
    texts = ["a red car", "", "ein Hund"]
    alone = normalise(FakeTextTower().embed(texts))
    found = joined.embed(texts)
    assert found.shape == (3, joined.dim) == (3, 64)
    assert np.array_equal(found, np.concatenate([alone, alone], axis=1))
    assert joined.count_tokens(texts) == [3, 0, 2]
    assert joined.fingerprint not in (FakeTextTower().fingerprint, "")
    assert joined.max_tokens is None


class Letters(FakeTextTower):
    """A tower whose tokens are letters."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


def test_a_count_above_the_limit_says_that_a_tower_cuts_the_text() -> None:
    joined = JoinedTextTower(["fake", "fake"])
    joined.towers = [FakeTextTower(max_tokens=3), Letters(max_tokens=20)]
    assert joined.max_tokens == 3
    assert joined.count_tokens(["a big red dog", "circumstances", "uncharacteristic circumstances"]) == [4, 1, 30]


def test_one_tower_or_an_unknown_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least two names"):
        text_tower("joined", towers=["fake"])
    with pytest.raises(ConfigError, match="unknown text tower 'fkae'"):
        text_tower("joined", towers=["fake", "fkae"])
