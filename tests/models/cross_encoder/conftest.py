"""Small networks, random and trained, for the tests of the cross-encoder."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the cross-encoder needs the [train] extra")

MAPS = ((6, 4, 4), (8, 2, 2))
TEXTS = [
    "a red circle on white",
    "a blue square",
    "the green stripe runs across the whole picture",
    "circle, yellow",
    "two dogs play with a small ball in the deep snow",
]


@pytest.fixture(scope="session")
def words():
    from diptych.models.cross_encoder.vocabulary import Vocabulary

    return Vocabulary.learn(TEXTS * 3, 120)


@pytest.fixture
def network(words):
    from diptych.models.cross_encoder.network import CrossNetwork
    from diptych.models.cross_encoder.settings import NetworkSettings

    torch.manual_seed(3)
    settings = NetworkSettings(width=16, layers=2, heads=2, max_tokens=20)
    made = CrossNetwork(MAPS, len(words), settings).eval()
    torch.nn.init.normal_(made.decoder.words.weight, std=0.5)  # so that words differ clearly before any training
    return made


@pytest.fixture
def regions():
    return torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(5))
