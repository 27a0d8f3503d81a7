"""Which parameters learn, how fast and from when; averaged weights."""

import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.training import checkpoints  # noqa: E402
from diptych.training.averaging import AveragedWeights  # noqa: E402
from diptych.training.engine import BEST, LAST  # noqa: E402
from diptych.training.optimisation import WarmUpFreeze, build_optimiser, parameter_groups  # noqa: E402
from diptych.training.settings import TrainingSettings  # noqa: E402

from .pair_run import PairRun  # noqa: E402


def parts() -> torch.nn.Sequential:
    backbone = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
    return torch.nn.Sequential(backbone, torch.nn.Linear(3, 2))


def test_a_scale_makes_groups_of_its_own_and_the_inner_one_counts() -> None:
    module = parts()
    module[0].learning_rate_scale = 0.1
    module[0][0].learning_rate_scale = 0.5
    module[1].bias.requires_grad_(False)
    groups = parameter_groups(module, 0.3)
    found = {(group["scale"], group["weight_decay"]): [p.shape for p in group["params"]] for group in groups}
    assert found == {
        (0.5, 0.3): [torch.Size([3, 3])],
        (0.5, 0.0): [torch.Size([3])],
        (0.1, 0.0): [torch.Size([3]), torch.Size([3])],
        (1.0, 0.3): [torch.Size([2, 3])],
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_each_optimiser_is_the_plain_one_of_torch(name: str, kind: type) -> None:
    torch.manual_seed(0)
    module, rows = parts(), torch.randn(5, 3)
    module.eval()
    twin = copy.deepcopy(module)
    ours = build_optimiser(module, TrainingSettings(optimiser=name, learning_rate=0.1, weight_decay=0.3, momentum=0.7))
    decays, others = ([p for p in twin.parameters() if (p.ndim > 1) is side] for side in (True, False))
    groups = [{"params": decays, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
    theirs = kind(groups, lr=0.1, **({"momentum": 0.7} if name == "sgd" else {"betas": (0.7, 0.999)}))
    assert type(ours) is kind
    for _ in range(3):
        for each, optimiser in ((module, ours), (twin, theirs)):
            optimiser.zero_grad()
            each(rows).square().sum().backward()
            optimiser.step()
    for left, right in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-5)


def test_a_frozen_part_stands_still_until_its_epoch_and_then_learns() -> None:
    module = parts()
    module[0].frozen_epochs = 2
    module[1].bias.requires_grad_(False)
    freeze = WarmUpFreeze(module)
    for epoch, learns in ((0, False), (1, False), (2, True), (3, True)):
        module.train()
        freeze.start_epoch(epoch)
        assert all(part.training is learns for part in module[0].modules())
        assert all(parameter.requires_grad is learns for parameter in module[0].parameters())
        assert module[1].training
        assert module[1].weight.requires_grad
        assert not module[1].bias.requires_grad  # it never learns


def test_in_a_run_frozen_weights_are_untouched_before_their_epoch(tmp_path: Path) -> None:
    run = PairRun(tmp_path, loss={"name": "info_nce"}, settings={"epochs": 3, "weight_decay": 0.1}, dropout=0.5)
    run.module.text.frozen_epochs = 2
    run = _rebuilt(run)
    before = copy.deepcopy(run.module.state_dict())
    same = []
    validate = run.trainer.validate

    def watched() -> object:
        same.append({name: bool(torch.equal(value, before[name])) for name, value in run.module.named_parameters()})
        return validate()

    run.trainer.validate = watched  # type: ignore[assignment]
    run.fit()
    assert [epoch["text.0.weight"] for epoch in same] == [True, True, False]
    assert [epoch["image.0.weight"] for epoch in same] == [False, False, False]


def _rebuilt(run: PairRun) -> PairRun:
    run.trainer._freeze = WarmUpFreeze(run.module)
    return run


def test_the_average_by_hand() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    average = AveragedWeights(module, 0.15)
    module.weight.data.fill_(2.0)
    average.update(0)  # d = 1/10
    assert average.average["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    module.weight.data.fill_(3.0)
    average.update(1)  # d = 0.15, less than 2/11
    assert average.average["weight"].item() == pytest.approx(0.15 * 1.9 + 0.85 * 3)
    with average.in_place():
        assert module.weight.item() == pytest.approx(0.15 * 1.9 + 0.85 * 3)
        assert average.average["weight"].item() == 3.0
    assert module.weight.item() == 3.0


def test_the_average_is_what_is_validated_and_saved(tmp_path: Path) -> None:
    run = PairRun(tmp_path, loss={"name": "info_nce"}, settings={"ema": 0.9, "epochs": 1})
    module, seen = run.module, []
    validate = run.trainer.validate
    averages: list[torch.Tensor] = []
    step = run.trainer.optimiser.step

    def stepped(*arguments: object) -> object:
        done = step(*arguments)
        weight = module.image[0].weight.detach().clone()
        decay = min(0.9, (1 + len(averages)) / (10 + len(averages)))
        last = averages[-1] if averages else start
        averages.append(decay * last + (1 - decay) * weight)
        return done

    def watched() -> object:
        seen.append(module.image[0].weight.detach().clone())
        return validate()

    start = module.image[0].weight.detach().clone()
    run.trainer.optimiser.step = stepped  # type: ignore[method-assign,assignment]
    run.trainer.validate = watched  # type: ignore[assignment]
    run.fit()
    torch.testing.assert_close(seen[0], averages[-1])
    best, last = (checkpoints.read(tmp_path / name) for name in (BEST, LAST))
    assert torch.equal(best.module["image.0.weight"], seen[0])
    assert torch.equal(last.average["image.0.weight"], seen[0])
    assert not torch.equal(last.module["image.0.weight"], seen[0])
    assert torch.equal(module.image[0].weight, seen[0])
