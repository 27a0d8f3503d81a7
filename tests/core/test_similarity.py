"""Similarities on arrays: by hand, and equal to those that losses train for."""

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.registry import get, names
from diptych.core.similarity import in_slices, order, similarity_of


def test_order_by_hand() -> None:
    images = np.array([[0.6, -0.8], [1.0, 0.0]])
    texts = np.array([[0.6, 0.8], [-0.8, 0.6]])
    # text 0 says nothing beyond image 0; beyond image 1 it says 0.8 in the second dimension
    wanted = [[0.0, -(0.2**2)], [-(0.8**2), -(0.6**2)]]
    assert order(images, texts) == pytest.approx(np.array(wanted), abs=1e-6)


@pytest.mark.parametrize("name", names("similarity"))
def test_arrays_and_tensors_give_the_same(name: str) -> None:
    torch = pytest.importorskip("torch", reason="losses need the [train] extra")
    draw = np.random.default_rng(0)
    images, texts = (normalise(draw.normal(size=(rows, 7))) for rows in (5, 4))
    found = get("similarity", name)(torch.from_numpy(images), torch.from_numpy(texts)).numpy()
    assert get("similarity", name)(images, texts) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_slices_change_nothing(rows: int) -> None:
    draw = np.random.default_rng(0)
    images, texts = draw.normal(size=(5, 7)), draw.normal(size=(4, 7))
    whole = order(images, texts)
    assert (in_slices(order, images, texts, rows * texts.size) == whole).all()


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"unknown similarity 'cosin'.*did you mean 'cosine'"):
        similarity_of("cosin")
