"""Small batches for the tests of losses: three rows by hand, and random ones for slow twins."""

import dataclasses
import math

import torch
from hypothesis import strategies as st

from diptych.losses import Embedded

DEGREES = {"image": (0, 50, 120), "text": (10, 90, 200)}


def unit(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


IMAGE, TEXT = unit(*DEGREES["image"]), unit(*DEGREES["text"])


def cosines() -> list[list[float]]:
    """s[i][j] of image i and text j."""
    return [[math.cos(math.radians(i - t)) for t in DEGREES["text"]] for i in DEGREES["image"]]


def cosines_of_all() -> list[list[float]]:
    """Of the images and then the texts, with each other."""
    degrees = [*DEGREES["image"], *DEGREES["text"]]
    return [[math.cos(math.radians(a - b)) for b in degrees] for a in degrees]


def three(*owner: int, group: tuple[int, ...] | None = None) -> Embedded:
    return Embedded(IMAGE, TEXT, torch.tensor(owner), None if group is None else torch.tensor(group))


def random_batch(seed: int, rows: int = 5, width: int = 4) -> Embedded:
    """Rows with siblings, classes and records without a class; at least two records."""
    draw = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(rows, width, generator=draw, dtype=torch.float64) for _ in range(2))
    image, text = (torch.nn.functional.normalize(part, dim=1) for part in (image, text))
    owner = torch.randint(0, max(2, rows - 1), (rows,), generator=draw)
    owner[0], owner[1] = 0, 1
    group_of = torch.randint(-1, 2, (max(2, rows),), generator=draw)
    return Embedded(image, text, owner, group_of[owner])


batches = st.builds(random_batch, st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 5))


def same_class(batch: Embedded, i: int, j: int) -> bool:
    owner, group = batch.owner.tolist(), batch.group.tolist()
    return owner[i] == owner[j] or (group[i] == group[j] and group[i] >= 0)


def gradient_is_right(loss: torch.nn.Module, batch: Embedded) -> bool:
    """Finite differences of the loss in the embeddings and in each of its parameters."""
    loss = loss.double()
    names = [name for name, _ in loss.named_parameters()]
    values = [value.detach().clone().requires_grad_() for _, value in loss.named_parameters()]
    image, text = (rows.detach().clone().requires_grad_() for rows in (batch.image, batch.text))

    def value(image: torch.Tensor, text: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        embedded = dataclasses.replace(batch, image=image, text=text)
        return torch.func.functional_call(loss, dict(zip(names, parameters, strict=True)), (embedded,))

    return torch.autograd.gradcheck(value, (image, text, *values))
