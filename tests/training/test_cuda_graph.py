"""A recorded pass gives the gradients, losses and buffers of the pass itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from diptych.core.errors import ConfigError
from diptych.training.cuda_graph import CudaGraphStep, record_on_gpu

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@dataclass(frozen=True)
class Some:
    given: torch.Tensor
    wanted: torch.Tensor
    more: torch.Tensor | None = None


class Net(nn.Module):
    """With buffers that a pass changes (those of spectral norm), noise, and a part that no gradient reaches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = spectral_norm(nn.Linear(5, 3))
        self.idle = nn.Linear(2, 2)

    def step(self, batch):
        noisy = batch.given + 0.1 * torch.randn_like(batch.given)
        apart = (self.layer(noisy) - batch.wanted).square()
        return apart.mean(), {"largest": apart.max(), "smallest": apart.min()}


def run_again(run):
    """Records on a CPU: a replay does everything once more, into the tensors of the first time."""
    for _ in range(3):
        run()
    first = run()

    def replay():
        for kept, found in zip(first, run(), strict=True):
            kept.copy_(found)

    return first, replay


def batches(count, rows=4, device="cpu"):
    draw = torch.Generator().manual_seed(rows)
    return [
        Some(torch.randn(rows, 5, generator=draw).to(device), torch.randn(rows, 3, generator=draw).to(device))
        for _ in range(count)
    ]


def trained(net, turn, steps):
    """The losses, facts and weights of some steps of plain descent."""
    torch.manual_seed(7)
    told = []
    for batch in steps:
        loss, facts = turn(batch)
        told.append([float(value.detach()) for value in (loss, *facts.values())])
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
                parameter.grad = None
    return told, {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def plainly(net):
    def turn(batch):
        loss, facts = net.step(batch)
        loss.backward()
        return loss.detach(), facts

    return turn


@pytest.mark.parametrize(
    ("record", "device"), [(run_again, "cpu"), pytest.param(record_on_gpu, "cuda", marks=needs_gpu)]
)
def test_a_replay_is_the_pass_itself(record, device):
    """Also after another shape was recorded in between, and with what changes from pass to pass."""
    steps = [*batches(3, device=device), *batches(2, rows=6, device=device), *batches(2, device=device)]
    one, other = Net().to(device), Net().to(device)
    replayed = CudaGraphStep(other.step, other, other, contextlib.nullcontext, record)
    told, weights = trained(one, plainly(one), steps)
    found, replayed_weights = trained(other, replayed, steps)
    assert torch.allclose(torch.tensor(found), torch.tensor(told), atol=1e-5)
    assert all(torch.allclose(replayed_weights[name], value, atol=1e-5) for name, value in weights.items())


def test_facts_of_one_step_stay_when_the_next_is_replayed():
    net = Net()
    replayed = CudaGraphStep(net.step, net, net, contextlib.nullcontext, run_again)
    first, second = batches(2)
    loss, facts = replayed(first)
    before = float(loss), float(facts["largest"])
    replayed(second)
    assert (float(loss), float(facts["largest"])) == before


def test_recording_moves_no_random_generator_and_no_buffer():
    net = Net()
    torch.manual_seed(3)
    state, buffers = torch.get_rng_state(), [each.clone() for each in net.buffers()]
    replayed = CudaGraphStep(net.step, net, net, contextlib.nullcontext, lambda run: (run_again(run)[0], lambda: None))
    replayed(batches(1)[0])  # recorded; its replay does nothing
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(now, before) for now, before in zip(net.buffers(), buffers, strict=True))


def test_what_cannot_be_recorded_says_what_to_do():
    def refuse(run):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    net = Net()
    with pytest.raises(ConfigError, match=r"not permitted when stream is capturing\); set replay = false"):
        CudaGraphStep(net.step, net, net, contextlib.nullcontext, refuse)(batches(1)[0])


def test_what_gets_no_gradient_gets_none():
    net = Net()
    CudaGraphStep(net.step, net, net, contextlib.nullcontext, run_again)(batches(1)[0])
    assert net.idle.weight.grad is None
    assert net.layer.parametrizations.weight.original.grad is not None
