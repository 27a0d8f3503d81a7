"""Cosine and order similarity against loops."""

import numpy as np
import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.similarity import _order, cosine, in_slices, l2, of_cosines, order  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.info_nce import InfoNCE  # noqa: E402

from .batches import batches, gradient_is_right, random_batch  # noqa: E402


def test_order_by_hand() -> None:
    image = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    text = torch.tensor([[0.8, -0.6], [0.0, 1.0], [0.6, 0.8]])
    # |t| - |v|: (.2, -.2) (-.6, .2) (0, 0); (-.2, .6) (-1, 1) (-.4, .8)
    wanted = [[-0.04, -0.04, 0.0], [-0.36, -1.0, -0.64]]
    assert torch.allclose(order(image, text), torch.tensor(wanted))


def test_l2_by_hand() -> None:
    image, text = torch.tensor([[0.6, 0.8], [3.0, 0.0]]), torch.tensor([[-0.6, 0.0], [0.6, 0.8]])
    # (1.2, .8) (0, 0); (3.6, 0) (2.4, -.8): the second image is no unit vector, and is compared as it is
    wanted = [[-(2.08**0.5), 0.0], [-3.6, -(6.4**0.5)]]
    assert torch.allclose(l2(image, text), torch.tensor(wanted))
    assert l2(image.numpy(), text.numpy()) == pytest.approx(np.array(wanted, dtype=np.float32), abs=1e-3)
    unit = random_batch(3, rows=7)
    assert torch.equal(l2(unit.image, unit.text).argsort(1), cosine(unit.image, unit.text).argsort(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(l2(image.bfloat16(), text.bfloat16()), torch.tensor(wanted), atol=0.02)


def test_what_is_like_the_cosine_follows_from_it() -> None:
    assert of_cosines("l2", np.array([1, 0.5, 0, -1])) == pytest.approx([0, -1, -np.sqrt(2), -2], abs=1e-12)
    assert of_cosines("cosine", np.array([0.3, 1 + 1e-7])) == pytest.approx([0.3, 1])


def test_equal_rows_have_a_finite_gradient_by_l2() -> None:
    rows = torch.tensor([[0.6, 0.8], [1.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(l2(rows, rows.detach()).sum(), rows)
    assert torch.isfinite(gradient).all()


@settings(deadline=None, max_examples=30)
@given(batches)
def test_slow_twins(batch: Embedded) -> None:
    image, text = batch.image.tolist(), batch.text.tolist()
    for i, v in enumerate(image):
        for j, t in enumerate(text):
            assert float(cosine(batch.image, batch.text)[i, j]) == pytest.approx(
                sum(a * b for a, b in zip(v, t, strict=True)), abs=1e-12
            )
            apart = sum((a - b) ** 2 for a, b in zip(v, t, strict=True)) ** 0.5
            assert float(l2(batch.image, batch.text)[i, j]) == pytest.approx(-apart, abs=1e-9)
            beyond = sum(max(0.0, abs(b) - abs(a)) ** 2 for a, b in zip(v, t, strict=True))
            assert float(order(batch.image, batch.text)[i, j]) == pytest.approx(-beyond, abs=1e-12)
    scores = order(batch.image, batch.text)
    assert bool((scores <= 0).all())
    assert bool((scores >= -1 - 1e-9).all())


def test_large_batches_in_slices() -> None:
    batch = random_batch(5, rows=7)
    image, text = batch.image.clone().requires_grad_(), batch.text.clone().requires_grad_()
    whole = order(image, text)
    gradient = torch.autograd.grad(whole.sin().sum(), (image, text))
    sliced = in_slices(_order, image.abs(), text.abs(), 2 * text.numel())
    assert torch.equal(sliced, whole)
    for one, other in zip(gradient, torch.autograd.grad(sliced.sin().sum(), (image, text)), strict=True):
        assert torch.allclose(one, other)


def test_info_nce_takes_a_similarity() -> None:
    batch = random_batch(2)
    assert float(InfoNCE(similarity="cosine")(batch).detach()) == float(InfoNCE()(batch).detach())
    scores = order(batch.image, batch.text)
    found = InfoNCE(0.1, similarity=lambda image, text: scores)(batch)
    assert float(InfoNCE(0.1, similarity="order")(batch).detach()) == float(found.detach())
    assert gradient_is_right(InfoNCE(0.1, similarity="order"), batch)
