"""What all losses have in common, by the names of the table."""

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, DataError  # noqa: E402
from diptych.core.registry import build, names  # noqa: E402
from diptych.losses import Embedded, Loss  # noqa: E402

EVERY = names("loss")

from .batches import IMAGE, TEXT, random_batch  # noqa: E402

NESTED = {
    "combined": {"parts": [{"name": "info_nce"}]},
    "matryoshka": {"dims": [1, 2], "loss": {"name": "info_nce"}},
}
NEEDS_CLASSES = {"class_aware_triplet", "supervised_contrast"}
NEEDS_LABELS = {"contrastive", "cosent", "pair_cross_entropy"}  # each row by itself: test_labelled_pairs.py
NEEDS_DIM = {"adversarial", "instance_discrimination"}


LOSSES = sorted(set(EVERY) - NEEDS_LABELS)


def made(name: str, dim: int | None = 2) -> Loss:
    return build("loss", Part(name, NESTED.get(name, {})), dim=dim)


def test_the_table_is_complete() -> None:
    assert set(EVERY) == {
        "adversarial",
        "class_aware_triplet",
        "combined",
        "contrastive",
        "cosent",
        "info_nce",
        "instance_discrimination",
        "matryoshka",
        "max_hinge",
        "pair_cross_entropy",
        "sigmoid",
        "sum_hinge",
        "supervised_contrast",
    }


@pytest.mark.parametrize("name", LOSSES)
def test_a_finite_scalar_with_a_gradient_and_a_report(name: str) -> None:
    loss = made(name, dim=4).float()
    batch = random_batch(7)
    image, text = (rows.float().requires_grad_() for rows in (batch.image, batch.text))
    value = loss(Embedded(image, text, batch.owner, batch.group))
    assert value.shape == ()
    for gradient in torch.autograd.grad(value, (image, text)):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0
    assert all(isinstance(number, float) for number in loss.report().values())


@pytest.mark.parametrize("name", LOSSES)
def test_a_checkpoint_restores_it(name: str) -> None:
    one, other = made(name, dim=4), made(name, dim=4)
    other.load_state_dict(one.state_dict())
    batch = random_batch(7)
    assert float(one.double()(batch).detach()) == float(other.double()(batch).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"adversarial"}))
def test_half_precision_stays_finite(name: str, dtype: torch.dtype) -> None:
    batch = Embedded(IMAGE.to(dtype), TEXT.to(dtype), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    assert torch.isfinite(made(name)(batch))


@pytest.mark.parametrize("name", LOSSES)
def test_autocast(name: str) -> None:
    loss = made(name)
    batch = Embedded(IMAGE.float(), TEXT.float(), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    exact = float(made(name).load_state_dict(loss.state_dict()) and loss.eval()(batch).detach())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss(batch).detach()) == pytest.approx(exact, rel=0.05, abs=0.05)


@pytest.mark.parametrize(("rows", "owner"), [(0, []), (1, [0]), (3, [4, 4, 4])])
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"adversarial"}))
def test_a_batch_of_one_record_is_an_error(name: str, rows: int, owner: list[int]) -> None:
    numbers = torch.tensor(owner, dtype=torch.int64)
    with pytest.raises(ConfigError, match=f"needs pairs of at least 2 records in a batch, found {rows} row"):
        made(name)(Embedded(IMAGE[:rows], TEXT[:rows], numbers, torch.zeros(rows, dtype=torch.int64)))


@pytest.mark.parametrize("name", LOSSES)
def test_only_losses_of_classes_need_classes(name: str) -> None:
    batch = Embedded(IMAGE.float(), TEXT.float(), torch.arange(3))
    if name in NEEDS_CLASSES:
        with pytest.raises(DataError, match="needs the class of each record, but the data has none"):
            made(name)(batch)
    else:
        assert torch.isfinite(made(name)(batch))


@pytest.mark.parametrize("name", LOSSES)
def test_only_losses_with_a_width_need_one(name: str) -> None:
    if name in NEEDS_DIM:
        with pytest.raises(ConfigError, match=f"loss '{name}' needs dim, which is not known here; pass dim"):
            made(name, dim=None)
    else:
        made(name, dim=None)


def test_an_unknown_loss_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="unknown loss 'hinge'; choose from adversarial, class_aware_triplet"):
        build("loss", Part("hinge"))


def test_siblings_negatives_and_classes_of_a_batch() -> None:
    batch = Embedded(torch.zeros(4, 2), torch.zeros(4, 2), torch.tensor([5, 5, 6, 7]), torch.tensor([-1, -1, 2, 2]))
    yes, no = True, False
    assert batch.siblings().tolist() == [[no, yes, no, no], [yes, no, no, no], [no] * 4, [no] * 4]
    assert batch.negatives().tolist() == [
        [no, no, yes, yes],
        [no, no, yes, yes],
        [yes, yes, no, yes],
        [yes, yes, yes, no],
    ]
    assert batch.same_class().tolist() == [
        [yes, yes, no, no],
        [yes, yes, no, no],
        [no, no, yes, yes],
        [no, no, yes, yes],
    ]
