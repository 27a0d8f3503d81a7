"""Checkpoints: whole or the one before, and exact."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from safetensors.torch import save_file  # noqa: E402

from diptych.core import files  # noqa: E402
from diptych.core.errors import ModelError  # noqa: E402
from diptych.training import checkpoints  # noqa: E402


def trained(seed: int, steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(), torch.nn.Linear(4, 2))
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1)
    step(module, optimiser, steps)
    return module, optimiser


def step(module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        module(torch.randn(8, 3)).square().sum().backward()
        optimiser.step()


def test_weights_moments_and_random_state_come_back_exactly(tmp_path: Path) -> None:
    module, optimiser = trained(0, 3)
    checkpoints.write(tmp_path / "c", module, optimiser, {"epoch": 3, "text": "ä"})
    step(module, optimiser, 4)
    other, its = trained(1, 1)
    found = checkpoints.read(tmp_path / "c")
    assert found.facts == {"epoch": 3, "text": "ä"}
    checkpoints.restore(found, other, its)
    step(other, its, 4)
    for left, right in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_weights_alone(tmp_path: Path) -> None:
    module, _ = trained(0, 1)
    checkpoints.write(tmp_path / "c", module, None, {})
    found = checkpoints.read(tmp_path / "c")
    assert not found.optimiser
    assert torch.equal(found.module["0.weight"], module.state_dict()["0.weight"])


def test_a_write_that_breaks_off_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, optimiser = trained(0, 1)
    checkpoints.write(tmp_path / "c", module, optimiser, {"epoch": 1})

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(tmp_path / "c", module, optimiser, {"epoch": 2})
    assert checkpoints.read(tmp_path / "c").facts == {"epoch": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 1000, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int) -> None:
    module, optimiser = trained(0, 1)
    path = tmp_path / "c"
    checkpoints.write(path, module, optimiser, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"is not a checkpoint of ours .*remove it to start anew"):
        checkpoints.read(path)


@pytest.mark.parametrize("metadata", [None, {}, {"diptych": "{"}, {"other": "1"}])
def test_a_file_of_someone_else(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "c", metadata=metadata)
    with pytest.raises(ModelError, match="is not a checkpoint of ours"):
        checkpoints.read(tmp_path / "c")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a checkpoint of ours"):
        checkpoints.read(tmp_path / "none")


def test_there_is_no_pickle_in_it(tmp_path: Path) -> None:
    module, optimiser = trained(0, 1)
    checkpoints.write(tmp_path / "c", module, optimiser, {"epoch": 1})
    data = (tmp_path / "c").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header["__metadata__"]["diptych"]) == {"epoch": 1}
    assert "module/0.weight" in header


def test_moments_lie_in_memory_as_their_weights_do(tmp_path: Path) -> None:
    """A fused step walks through weights and moments side by side, whatever their order is."""

    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module, torch.optim.Adam(module.parameters(), lr=0.1, fused=True)

    def step(module: torch.nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
        optimiser.zero_grad()
        pictures = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        module(pictures).square().sum().backward()
        optimiser.step()

    module, optimiser = made()
    step(module, optimiser, 1)
    checkpoints.write(tmp_path / "one", module, optimiser, {})
    step(module, optimiser, 2)
    again, other = made()
    checkpoints.restore(checkpoints.read(tmp_path / "one"), again, other)
    step(again, other, 2)
    assert torch.equal(module.weight, again.weight)
