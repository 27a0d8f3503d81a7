"""Cosine and order similarity against loops."""

import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.similarity import _order, cosine, in_slices, order  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.info_nce import InfoNCE  # noqa: E402

from .batches import batches, gradient_is_right, random_batch  # noqa: E402


def test_order_by_hand() -> None:
    image = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    text = torch.tensor([[0.8, -0.6], [0.0, 1.0], [0.6, 0.8]])
    # |t| - |v|: (.2, -.2) (-.6, .2) (0, 0); (-.2, .6) (-1, 1) (-.4, .8)
    wanted = [[-0.04, -0.04, 0.0], [-0.36, -1.0, -0.64]]
    assert torch.allclose(order(image, text), torch.tensor(wanted))


@settings(deadline=None, max_examples=30)
@given(batches)
def test_slow_twins(batch: Embedded) -> None:
    image, text = batch.image.tolist(), batch.text.tolist()
    for i, v in enumerate(image):
        for j, t in enumerate(text):
            assert float(cosine(batch.image, batch.text)[i, j]) == pytest.approx(
                sum(a * b for a, b in zip(v, t, strict=True)), abs=1e-12
            )
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
