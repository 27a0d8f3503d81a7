"""Losses of pairs with labels: contrastive, CoSENT and cross-entropy, by hand and in what they teach."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, DataError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.losses import Contrastive, CoSENT, Embedded, PairCrossEntropy  # noqa: E402

from .batches import gradient_is_right, random_batch, three  # noqa: E402

EVERY = ("contrastive", "cosent", "pair_cross_entropy")


def labelled(*labels: float) -> Embedded:
    """Pairs of 10, 40 and 80 degrees."""
    return dataclasses.replace(three(0, 1, 2), label=torch.tensor(labels, dtype=torch.float64))


def cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def test_contrastive_by_hand() -> None:
    # distances of unit vectors: 2 sin(angle / 2) = 0.174, 0.684, 1.286; the margin 1 is missed by 0.316 in the second
    near, middle, far = (2 * math.sin(math.radians(degrees) / 2) for degrees in (10, 40, 80))
    wanted = (near**2 + (1 - middle) ** 2 + 0) / 6
    assert float(Contrastive()(labelled(1, 0, 0))) == pytest.approx(wanted)
    wanted = (0.5 * near**2 + 0.5 * (1.5 - near) ** 2 + middle**2 + (1.5 - far) ** 2) / 6
    assert float(Contrastive(margin=1.5)(labelled(0.5, 1, 0))) == pytest.approx(wanted)


def test_cosent_by_hand() -> None:
    # the labels rise while the cosines fall: all three pairs of pairs are in the wrong order
    one, two, three_ = cos(10), cos(40), cos(80)
    gaps = [one - two, one - three_, two - three_]
    wanted = math.log(1 + sum(math.exp(5 * gap) for gap in gaps))
    loss = CoSENT(scale=5)
    assert float(loss(labelled(0, 0.5, 1))) == pytest.approx(wanted)
    assert loss.report() == {"compared": pytest.approx(2 / 3)}
    # only the first pair's label is lower than another
    wanted = math.log(1 + math.exp(20 * (one - two)) + math.exp(20 * (one - three_)))
    assert float(CoSENT()(labelled(0, 3, 3))) == pytest.approx(wanted)
    assert float(CoSENT()(labelled(1, 1, 1))) == 0


def test_cross_entropy_by_hand() -> None:
    loss = PairCrossEntropy(temperature=0.2, bias=-2).double()
    probabilities = [1 / (1 + math.exp(-(cos(degrees) / 0.2 - 2))) for degrees in (10, 40, 80)]
    terms = [math.log(probabilities[0]), math.log(1 - probabilities[1])]
    terms.append(0.25 * math.log(probabilities[2]) + 0.75 * math.log(1 - probabilities[2]))
    assert float(loss(labelled(1, 0, 0.25)).detach()) == pytest.approx(-sum(terms) / 3)
    assert loss.logits() == (pytest.approx(5), -2)
    assert loss.report() == {"temperature": pytest.approx(0.2), "bias": -2}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 7))
def test_cosent_counts_the_wrong_orders(seed: int, rows: int) -> None:
    batch = random_batch(seed, rows)
    label = torch.randint(0, 3, (rows,), generator=torch.Generator().manual_seed(seed))
    cosines = (batch.image * batch.text).sum(1).tolist()
    total = 1.0
    for i in range(rows):
        for j in range(rows):
            if label[i] < label[j]:
                total += math.exp(20 * (cosines[i] - cosines[j]))
    found = CoSENT()(dataclasses.replace(batch, label=label.double()))
    assert float(found) == pytest.approx(math.log(total), rel=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_gradient(name: str) -> None:
    label = torch.tensor([0, 1, 0.5, 1, 0], dtype=torch.float64)
    assert gradient_is_right(build("loss", Part(name)), dataclasses.replace(random_batch(4), label=label))


@pytest.mark.parametrize("name", EVERY)
def test_equal_embeddings_have_a_finite_gradient(name: str) -> None:
    rows = torch.nn.functional.normalize(torch.ones(2, 4), dim=1).requires_grad_()
    loss = build("loss", Part(name))
    found = loss(Embedded(rows, rows.detach().clone(), torch.arange(2), label=torch.tensor([0.0, 1.0])))
    (gradient,) = torch.autograd.grad(found, rows)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", EVERY)
def test_pairs_without_labels_are_an_error(name: str) -> None:
    loss = build("loss", Part(name))
    assert loss.needs_labels
    assert not loss.needs_modalities
    with pytest.raises(DataError, match=f"{name} needs pairs with labels, and these have none"):
        loss(three(0, 1, 2))
    around = build("loss", Part("combined", {"parts": ["info_nce", name]}))
    assert around.needs_labels


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("contrastive", {"margin": 0}, "margin must be above 0"),
        ("cosent", {"scale": -1}, "scale must be above 0"),
        ("pair_cross_entropy", {"temperature": 0}, "temperature must be above 0"),
        ("pair_cross_entropy", {"bias": math.inf}, "bias must be a finite number"),
    ],
)
def test_wrong_options(name: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part(name, options))
