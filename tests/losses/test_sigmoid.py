"""The sigmoid loss against its formula."""

import math

import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.sigmoid import Sigmoid  # noqa: E402

from .batches import batches, cosines, gradient_is_right, random_batch, three  # noqa: E402


def by_loops(scores: list[list[float]], owner: list[int], temperature: float, bias: float) -> float:
    total = 0.0
    for i in range(len(owner)):
        for j in range(len(owner)):
            if i == j or owner[i] != owner[j]:
                z = 1 if i == j else -1
                total -= math.log(1 / (1 + math.exp(-z * (scores[i][j] / temperature + bias))))
    return total / len(owner)


def test_three_records_by_hand() -> None:
    s, scale, bias = cosines(), 10.0, -10.0
    right = sum(math.log1p(math.exp(-(scale * s[i][i] + bias))) for i in range(3))
    wrong = sum(math.log1p(math.exp(scale * s[i][j] + bias)) for i in range(3) for j in range(3) if i != j)
    assert float(Sigmoid()(three(0, 1, 2)).detach()) == pytest.approx((right + wrong) / 3, rel=1e-5)


@pytest.mark.parametrize("owner", [(7, 7, 9), (1, 2, 1)])
def test_siblings_are_left_out(owner: tuple[int, ...]) -> None:
    found = Sigmoid(0.5, -1.0)(three(*owner))
    assert float(found.detach()) == pytest.approx(by_loops(cosines(), list(owner), 0.5, -1.0), rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(batches)
def test_slow_twin(batch: Embedded) -> None:
    wanted = by_loops((batch.image @ batch.text.T).tolist(), batch.owner.tolist(), 0.2, -2.0)
    assert float(Sigmoid(0.2, -2.0).double()(batch).detach()) == pytest.approx(wanted, rel=1e-6)


def test_gradient() -> None:
    assert gradient_is_right(Sigmoid(0.4, -1.0), random_batch(6))
    assert gradient_is_right(Sigmoid(0.4, -1.0, similarity="order"), random_batch(6))


def test_temperature_and_bias_are_learnt_and_reported() -> None:
    loss = Sigmoid()
    assert loss.report() == {"temperature": pytest.approx(0.1), "bias": -10.0}
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1)
    loss(three(0, 1, 2)).backward()
    optimiser.step()
    assert loss.report()["bias"] > -10  # pairs want a higher one than the start
    assert set(loss.state_dict()) == {"log_scale", "bias"}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": -0.1}, "temperature must be above 0"), ({"bias": float("inf")}, "bias must be a finite number")],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part("sigmoid", options))
