"""Every loss in 16 bits: only the similarities are rounded, all that is done with them has 32 bits."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.registry import build, names  # noqa: E402
from diptych.losses import Embedded  # noqa: E402

LOSSES = names("loss")
from diptych.core.similarity import cosine  # noqa: E402

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "adversarial": {"gradient_penalty": 0.0},
    "combined": {"parts": ["info_nce", "sigmoid"]},
    "instance_discrimination": {"queue": 0},
    "matryoshka": {"dims": [4, 8], "loss": "info_nce"},
}
BY_SIMILARITY = ("info_nce", "max_hinge", "sigmoid", "sum_hinge")


def batch(kind: torch.dtype) -> Embedded:
    draw = torch.Generator().manual_seed(3)
    image, text = torch.nn.functional.normalize(torch.randn(2, 12, 8, generator=draw), dim=2).to(kind)
    return Embedded(image, text, torch.arange(12), torch.arange(12) % 3, label=torch.arange(12) % 2 * 1.0)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_16_bit_embeddings_is_a_number_of_32_bits(name: str, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    loss = build("loss", Part(name, OPTIONS.get(name, {})), dim=8, classes=3)
    whole = batch(kind)
    exact = dataclasses.replace(whole, image=whole.image.float(), text=whole.text.float())
    wanted = float(loss(exact).detach())
    with torch.autocast("cpu", dtype=kind):  # as a trainer computes it: the classifiers' weights have 32 bits
        found = loss(whole).detach()
    assert found.dtype is torch.float32
    assert float(found) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", BY_SIMILARITY)
def test_scores_are_widened_before_they_are_scaled(name: str, kind: torch.dtype) -> None:
    whole = batch(kind)
    scores = cosine(whole.image, whole.text)
    found = build("loss", Part(name, {"similarity": lambda image, text: scores}))(whole)
    wanted = build("loss", Part(name, {"similarity": lambda image, text: scores.float()}))(whole)
    assert float(found.detach()) == float(wanted.detach())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_a_batch_gives_a_loss_of_ones_own_scores_of_32_bits(kind: torch.dtype) -> None:
    whole = batch(kind)
    with torch.autocast("cpu", dtype=kind):
        scores = whole.scores()
    assert scores.dtype is torch.float32
    assert torch.equal(scores, cosine(whole.image, whole.text).float())
