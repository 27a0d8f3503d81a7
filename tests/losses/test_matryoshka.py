"""Losses on nested prefixes."""

import dataclasses

import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build, names  # noqa: E402
from diptych.losses import Embedded  # noqa: E402

LOSSES = names("loss")
from diptych.losses.matryoshka import Prefix  # noqa: E402
from diptych.losses.sum_hinge import SumHinge  # noqa: E402

from .batches import batches, gradient_is_right, random_batch  # noqa: E402


def prefix(batch: Embedded, width: int) -> Embedded:
    def cut(rows: torch.Tensor) -> torch.Tensor:
        kept = [row[:width] for row in rows.tolist()]
        return torch.tensor([[x / sum(y * y for y in row) ** 0.5 for x in row] for row in kept], dtype=torch.float64)

    return dataclasses.replace(batch, image=cut(batch.image), text=cut(batch.text))


@settings(deadline=None, max_examples=30)
@given(batches)
def test_the_mean_of_the_loss_on_prefixes(batch: Embedded) -> None:
    loss = build("loss", Part("matryoshka", {"dims": [1, 2], "loss": "sum_hinge"}))
    wanted = (float(SumHinge()(prefix(batch, 1))) + float(SumHinge()(prefix(batch, 2)))) / 2
    assert float(loss(batch)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"combined", "matryoshka"}))
def test_any_loss_in_a_wrapper(name: str) -> None:
    batch = dataclasses.replace(random_batch(3), label=torch.tensor([0, 1, 0.5, 1, 0], dtype=torch.float64))
    torch.manual_seed(0)
    loss = build(
        "loss", Part("matryoshka", {"dims": [2, 4], "weights": [1, 3], "loss": {"name": name}}), dim=4
    ).double()
    inner = [part.loss for part in loss.losses.values()]
    found = float(loss(batch).detach())
    for part in inner:
        part.eval()
        if name == "instance_discrimination":
            part.image.filled.zero_()
            part.text.filled.zero_()
    values = [float(part(prefix(batch, width)).detach()) for part, width in zip(inner, (2, 4), strict=True)]
    assert found == pytest.approx((values[0] + 3 * values[1]) / 4, rel=1e-6)
    assert loss.report()["first-2"] == pytest.approx(values[0], rel=1e-6)


def test_gradient() -> None:
    part = Part("matryoshka", {"dims": [2, 3, 4], "loss": {"name": "info_nce", "temperature": 0.4}})
    assert gradient_is_right(build("loss", part), random_batch(5))


def test_within_and_around_a_combination() -> None:
    nested = {"name": "matryoshka", "dims": [2, 4], "loss": {"name": "max_hinge"}, "weight": 0.5}
    loss = build("loss", Part("combined", {"parts": [nested, {"name": "adversarial", "hidden": 4}]}), dim=4)
    loss.start_epoch(0)
    loss.start_step(0.0)
    loss.double()(random_batch(1))
    report = loss.report()
    assert report["matryoshka.first-2.warming_up"] == 1
    assert report["adversarial.reversal"] == 0
    around = build(
        "loss", Part("matryoshka", {"dims": [2, 4], "loss": {"name": "combined", "parts": [nested | {"dims": [2]}]}})
    )
    around.double()(random_batch(1))
    assert "first-4.matryoshka.first-2" in around.report()


def test_each_prefix_has_a_temperature_of_its_own() -> None:
    loss = build("loss", Part("matryoshka", {"dims": [2, 4], "loss": "info_nce"}))
    assert set(dict(loss.named_parameters())) == {
        "losses.first-2.loss.log_scale",
        "losses.first-4.loss.log_scale",
    }


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": [2, 4]}, "loss 'matryoshka' needs loss; it takes dims, loss, weights"),
        ({"dims": [], "loss": "info_nce"}, "dims must be whole numbers that rise from at least 1, found"),
        ({"dims": [4, 2], "loss": "info_nce"}, "dims must be whole numbers that rise"),
        ({"dims": [0, 2], "loss": "info_nce"}, "dims must be whole numbers that rise"),
        ({"dims": [1.5, 2], "loss": "info_nce"}, "dims must be whole numbers that rise"),
        ({"dims": 32, "loss": "info_nce"}, "dims must be whole numbers that rise"),
        ({"dims": [4, 16], "loss": "info_nce"}, "dims has 16, but the embeddings have 8 dimensions"),
        ({"dims": [4, 8], "weights": [1.0], "loss": "info_nce"}, "weights must be one for each of 2 dims, found 1"),
        ({"dims": [4, 8], "weights": [1.0, -1], "loss": "info_nce"}, "weight must be above 0, found -1"),
        ({"dims": [4, 8], "loss": "cosine"}, "unknown loss 'cosine'"),
        ({"dims": [4, 8], "loss": 3}, "matryoshka.loss must be a name"),
    ],
)
def test_what_cannot_be_nested(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part("matryoshka", options), dim=8)


def test_embeddings_narrower_than_a_prefix() -> None:
    with pytest.raises(ConfigError, match="dims has 5, but the embeddings have 4 dimensions"):
        Prefix(SumHinge(), 5)(random_batch(1))
