"""All random generators go on from where they stood."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.training import randomness  # noqa: E402


def draw() -> list[float]:
    numpy_draws = [np.random.rand(), np.random.randn()]  # noqa: NPY002
    return [float(torch.rand(())), float(torch.randn(())), *numpy_draws, random.random(), random.gauss()]


@pytest.mark.parametrize("before", range(4))
def test_what_is_drawn_next_is_drawn_again(before: int) -> None:
    for _ in range(before):  # normal numbers come in twos, and one of them may be waiting
        np.random.randn()  # noqa: NPY002
        random.gauss()
    state = randomness.snapshot()
    first = [draw() for _ in range(3)]
    randomness.restore(state)
    assert [draw() for _ in range(3)] == first


def test_the_states_of_several_processes_may_lie_in_one_tensor() -> None:
    torch.manual_seed(1)
    state = randomness.snapshot()
    wanted = draw()
    torch.manual_seed(2)
    stacked = {key: torch.stack([value, value]) for key, value in {**state}.items()}
    stacked["cpu"][0] = torch.get_rng_state()
    randomness.restore({key: value[1] for key, value in stacked.items()})
    assert draw() == wanted
