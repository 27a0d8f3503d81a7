"""Gradients: in chunks and over processes the same as of the whole batch at once."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.losses import TEXT, Embedded  # noqa: E402
from diptych.training.batch_order import BatchRows  # noqa: E402
from diptych.training.distributed import launch  # noqa: E402
from diptych.training.objectives import Contrastive, Direct, Objective  # noqa: E402
from diptych.training.settings import TrainingSettings  # noqa: E402

from .pair_run import Pairs  # noqa: E402

LOSSES: list[dict[str, Any]] = [
    {"name": "info_nce", "label_smoothing": 0.1},
    {"name": "sigmoid"},
    {"name": "max_hinge", "margin": 0.5},
    {"name": "sum_hinge", "similarity": "order"},
    {"name": "class_aware_triplet"},
    {"name": "supervised_contrast"},
    {"name": "adversarial", "label_weight": 0.5, "gradient_penalty": 0.3},
    {"name": "instance_discrimination", "queue": 8},
    {"name": "matryoshka", "dims": [4, 8], "loss": {"name": "info_nce"}},
    {
        "name": "combined",
        "parts": [{"name": "instance_discrimination", "queue": 5}, {"name": "adversarial", "weight": 20.0}],
    },
]
ROWS = BatchRows(*(np.array(rows) for rows in zip(*[(i % 9, 0, 2 * (i % 9) + i // 9, i % 9) for i in range(13)])))  # noqa: B905


@pytest.fixture(scope="module")
def fabric() -> Any:
    return launch("cpu", TrainingSettings())


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


def whole(module: Pairs, chunk: int) -> torch.Tensor:
    """The batch in one graph, embedded in the same pieces, because dropout draws piece by piece."""
    parts = [module.embed(ROWS[begin : begin + chunk]) for begin in range(0, len(ROWS), chunk)]
    names = ("image", "text", "owner", "group")
    image, text, owner, group = (torch.cat([getattr(part, name) for part in parts]) for name in names)
    loss = module.loss(Embedded(image, text, owner, group))
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["name"])
@pytest.mark.parametrize("chunk", [1, 4, 12, 13, 50])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_in_chunks_it_is_the_gradient_of_the_whole(fabric: Any, loss: dict[str, Any], chunk: int, dtype: Any) -> None:
    module = Pairs(loss, dropout=0.4).to(dtype)
    twin = copy.deepcopy(module)
    torch.manual_seed(5)
    expected, value = whole(twin, chunk), None
    after = torch.get_rng_state()
    torch.manual_seed(5)
    value = Contrastive(module.embed, module.loss, chunk).backward(ROWS, fabric)
    assert torch.equal(torch.get_rng_state(), after)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)
    found, wanted = gradients(module), gradients(twin)
    assert found.keys() == wanted.keys()
    size = max(float(each.abs().max()) for each in wanted.values())
    assert size > 1e-3
    allowed = max(1, size) * (1e-5 if dtype == torch.float32 else 1e-12)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=allowed)
    for (name, buffer), other in zip(module.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=name)  # such as the queue


@pytest.mark.parametrize("chunk", [0, 5])
def test_a_loss_hears_of_labels_and_of_what_both_sides_are(fabric: Any, chunk: int) -> None:
    module, heard, labels = Pairs({"name": "info_nce"}), [], torch.linspace(0, 1, len(ROWS))
    rows = dataclasses.replace(ROWS, label=labels.numpy())

    def embed(part: BatchRows) -> Embedded:
        made = module.embed(part)
        return dataclasses.replace(made, sides=(TEXT, TEXT), label=torch.from_numpy(part.label))

    module.loss.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    Contrastive(embed, module.loss, chunk).backward(rows, fabric)
    assert heard[0].sides == (TEXT, TEXT)
    assert torch.equal(heard[0].label, labels)


@pytest.mark.parametrize("chunk", [0, 4, 1])
def test_a_further_loss_of_each_row_is_added_whatever_the_chunks(fabric: Any, chunk: int) -> None:
    module, twin = (Pairs({"name": "info_nce"}).double() for _ in range(2))
    wanted = torch.linspace(0, 1, 20, dtype=torch.float64)

    def extra(rows: BatchRows, embedded: Embedded) -> torch.Tensor:
        return 0.7 * (embedded.text[:, 0] - wanted[torch.from_numpy(rows.text)]).square().mean()

    whole = twin.embed(ROWS)
    expected = 0.3 * twin.loss(whole) + extra(ROWS, whole)
    expected.backward()
    value = Contrastive(module.embed, module.loss, chunk, extra=extra, weight=0.3).backward(ROWS, fabric)
    assert float(value) == pytest.approx(float(expected.detach()), abs=1e-12)
    for name, gradient in gradients(twin).items():
        torch.testing.assert_close(gradients(module)[name], gradient, rtol=0, atol=1e-12)


def test_chunks_hold_the_graph_of_one_chunk_only(fabric: Any) -> None:
    module = Pairs({"name": "info_nce"})
    graphs = []

    def embed(rows: BatchRows) -> Embedded:
        embedded = module.embed(rows)
        graphs.append((len(rows), embedded.image.requires_grad))
        return embedded

    Contrastive(embed, module.loss, 5).backward(ROWS, fabric)
    assert graphs == [(5, False), (5, False), (3, False), (5, True), (5, True), (3, True)]
    graphs.clear()
    Contrastive(embed, module.loss).backward(ROWS, fabric)
    assert graphs == [(13, True)]


def test_a_frozen_tower_without_head_has_no_gradient_to_get(fabric: Any) -> None:
    module = Pairs({"name": "info_nce"})
    module.text.requires_grad_(False)
    Contrastive(module.embed, module.loss, 5).backward(ROWS, fabric)
    assert all(name.split(".")[0] in ("image", "loss") for name in gradients(module))
    assert gradients(module)["image.0.weight"].abs().max() > 0


def test_batch_norms_that_learn_and_chunks_do_not_go_together() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    loss = Pairs({"name": "info_nce"}).loss
    with pytest.raises(ConfigError, match=r"chunk = 4 gives another result .* keep the batch norms in evaluation mode"):
        Contrastive(lambda rows: None, loss, 4).check(module)  # type: ignore[arg-type,return-value]
    Contrastive(lambda rows: None, loss).check(module)  # type: ignore[arg-type,return-value]
    module[1].eval()
    Contrastive(lambda rows: None, loss, 4).check(module)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match="chunk must be at least 0"):
        Contrastive(lambda rows: None, loss, -1)  # type: ignore[arg-type,return-value]


def test_direct_is_plain_backward(fabric: Any) -> None:
    module = Pairs({"name": "info_nce"})
    twin = copy.deepcopy(module)
    value = Direct(lambda rows: module.loss(module.embed(rows))).backward(ROWS, fabric)
    assert torch.equal(value, whole(twin, 13))
    for name, gradient in gradients(twin).items():
        assert torch.equal(gradients(module)[name], gradient)


def test_a_function_is_no_objective_but_both_of_ours_are() -> None:
    assert not isinstance(lambda rows: rows, Objective)
    assert isinstance(Direct(lambda rows: torch.zeros(())), Objective)
    assert isinstance(Contrastive(lambda rows: None, Pairs({"name": "sigmoid"}).loss), Objective)  # type: ignore[arg-type,return-value]


def test_a_batch_of_one_record_is_refused_in_the_losss_words(fabric: Any) -> None:
    module = Pairs({"name": "info_nce"})
    with pytest.raises(ConfigError, match=r"needs pairs of at least 2 records in a batch, found 1 row\(s\)"):
        Contrastive(module.embed, module.loss).backward(ROWS[:1], fabric)
