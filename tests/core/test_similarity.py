"""Similarities on arrays: by hand, and equal to those that losses train for."""

import numpy as np
import pytest

from diptych.core.errors import ConfigError
from diptych.core.similarity import SIMILARITIES, order, similarity_named


def test_order_by_hand() -> None:
    images = np.array([[0.6, -0.8], [1.0, 0.0]])
    texts = np.array([[0.6, 0.8], [-0.8, 0.6]])
    # text 0 says nothing beyond picture 0; beyond picture 1 it says 0.8 in the second dimension
    wanted = [[0.0, -(0.2**2)], [-(0.8**2), -(0.6**2)]]
    assert order(images, texts) == pytest.approx(np.array(wanted), abs=1e-6)


def test_they_are_what_losses_train_for() -> None:
    torch = pytest.importorskip("torch", reason="losses need the [train] extra")
    from diptych.losses import similarity as trained

    draw = np.random.default_rng(0)
    images, texts = draw.normal(size=(5, 7)), draw.normal(size=(4, 7))
    images, texts = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (images, texts))
    for name, function in SIMILARITIES.items():
        found = trained.SIMILARITIES[name](torch.from_numpy(images), torch.from_numpy(texts)).numpy()
        assert function(images, texts) == pytest.approx(found, abs=1e-5)


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"unknown similarity 'cosin'.*did you mean 'cosine'"):
        similarity_named("cosin")
