"""Several processes as one: how they are launched, and what they exchange.

The engine's rule: all processes hold the same weights and see the same global batch; each embeds its part
of the rows; their gradients are summed. Fabric starts and joins the processes, under
`torchrun`, `fabric run`, SLURM, or by itself when `devices` asks for more than one.
"""

from __future__ import annotations

import itertools
import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.shapes import Shaped
from diptych.encoders.half_precision import half_on
from diptych.encoders.pytorch import choose_device
from diptych.training.settings import TrainingSettings


def accelerator(device: str) -> tuple[str, Any]:
    """Fabric's words for a device: its kind, and its number in a list or 1. Raises ConfigError if it is not here."""
    chosen = choose_device(device)
    return chosen.type, 1 if chosen.index is None else [chosen.index]


def launched() -> tuple[int, int]:
    """Processes a machine and machines that torchrun or `fabric run` started; (1, 1) without them."""
    if "LOCAL_WORLD_SIZE" not in os.environ:  # Fabric's own launcher and SLURM do not set it
        return 1, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, max(1, int(os.environ["WORLD_SIZE"]) // here)


def launch(device: str, settings: TrainingSettings) -> Any:
    """A Fabric with all its processes. A `Trainer` has chosen the precision before; "auto" is 32 bits here.

    Raises ConfigError for a device that is not here, a precision it cannot train in, or a number of
    processes other than the launcher's.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    kind, devices = accelerator(device)
    here, nodes = launched()
    if here * nodes > 1:
        for name, wanted, found in (("devices", settings.devices, here), ("nodes", settings.nodes, nodes)):
            if wanted not in (0, found):
                raise ConfigError(
                    f"training.{name} is {wanted}, but the launcher started {found}; set it to 0 to take the launcher's"
                )
    else:
        here, nodes = settings.devices or 1, settings.nodes or 1
    if here > 1:
        if isinstance(devices, list):
            raise ConfigError(f"{here} processes cannot share the one device {device!r}; choose cuda or cpu")
        devices = here
    precision = "32-true" if settings.precision == "auto" else settings.precision
    how: dict[str, Any] = {"precision": precision}
    if precision == "16-mixed" and kind == "cpu":
        # Fabric would quietly take bfloat16 instead.
        _check_half_on_cpu()
        how = {"plugins": MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))}
    by_cli = os.environ.get("LT_CLI_USED", "0") == "1"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the precision is named with its reason
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will not have an effect.*")
        try:
            fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, **how)
            if not by_cli:  # `fabric run` has joined the processes already
                fabric.launch()
        except (ValueError, TypeError) as error:
            raise ConfigError(f"the processes cannot be joined: {error}") from error
    return fabric


def precision_for(device: str) -> tuple[str, str]:
    """What "auto" stands for on a device, and why."""
    half = half_on(accelerator(device)[0])
    return ("bf16-mixed" if half.quicker else "32-true"), half.why


def _check_half_on_cpu() -> None:
    try:
        with torch.autocast("cpu", dtype=torch.float16):
            probe = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
        probe.sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ConfigError(
            f"precision '16-mixed' does not work on this CPU ({error}); choose bf16-mixed or 32-true"
        ) from error


def rank_rows(rows: int, fabric: Any) -> slice:
    """The rank's rows of a batch, which this process embeds: contiguous, sizes differ by at most one.

    Raises ConfigError when there are fewer rows than processes.
    """
    bounds = _bounds(rows, fabric.world_size)
    return slice(bounds[fabric.global_rank], bounds[fabric.global_rank + 1])


def _bounds(rows: int, processes: int) -> list[int]:
    if rows < processes:
        raise ConfigError(
            f"a batch of {rows} pair(s) cannot be shared by {processes} processes; raise batch_size or add data"
        )
    small, extra = divmod(rows, processes)
    return [rank * small + min(rank, extra) for rank in range(processes + 1)]


def gather_rows(part: Shaped[Tensor, "part ..."], rows: int, fabric: Any) -> Shaped[Tensor, "rows ..."]:
    """The rows of all processes in the order of the batch, without gradient."""
    part = part.detach()
    if fabric.world_size == 1:
        return part
    bounds = _bounds(rows, fabric.world_size)
    sizes = [end - begin for begin, end in itertools.pairwise(bounds)]
    padded = part.new_zeros((max(sizes), *part.shape[1:]))
    padded[: len(part)] = part
    return torch.cat([each[:size] for each, size in zip(all_gather(padded, fabric), sizes, strict=True)])


def all_gather(value: Tensor, fabric: Any) -> list[Tensor]:
    """The value that each process holds; all must be of one shape."""
    value = value.to(fabric.device)
    found = [torch.empty_like(value) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(found, value)
    return found


def all_reduce_sum(value: Tensor, fabric: Any) -> Tensor:
    """The sum of a value over all processes."""
    if fabric.world_size == 1:
        return value.detach()
    summed: Tensor = fabric.all_reduce(value.detach().clone(), reduce_op="sum")
    return summed


def sum_gradients(parameters: Sequence[nn.Parameter], fabric: Any) -> None:
    """Sum each gradient over all processes, in one message for each kind of number.

    A parameter that some processes did not use counts as 0 there; one that none used stays without gradient.
    """
    if fabric.world_size == 1:
        return
    used = torch.tensor([float(each.grad is not None) for each in parameters], device=fabric.device)
    used = fabric.all_reduce(used, reduce_op="sum")
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for parameter, count in zip(parameters, used.tolist(), strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in kinds.values():
        flat = fabric.all_reduce(torch.cat([each.flatten() for each in gradients]), reduce_op="sum")
        for gradient, summed in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))


def broadcast(value: Any, fabric: Any) -> Any:
    """What the first process holds."""
    return fabric.broadcast(value) if fabric.world_size > 1 else value


def any_rank(flag: bool, fabric: Any) -> bool:
    """Whether `flag` is true on any process."""
    if fabric.world_size == 1:  # without asking the device, which would have to finish its work first
        return flag
    return bool(all_reduce_sum(torch.tensor(float(flag), device=fabric.device), fabric))


def scaler_of(fabric: Any) -> Any:
    """The gradient scaler of 16-bit training; None in other precisions."""
    return getattr(fabric.strategy.precision, "scaler", None)
