"""Matryoshka training: the first few dimensions of an embedding must be useful on their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from diptych.core.checks import positive
from diptych.core.errors import ConfigError
from diptych.core.registry import build, part_of, register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss, WrappedLoss, widened
from diptych.losses.combined import Combined


class Prefix(WrappedLoss):
    """A loss on the first `dim` dimensions of each embedding, brought back to unit length.

    Args:
        loss: what to compute on the prefix.
        dim: how many dimensions it keeps.
    """

    def __init__(self, loss: Loss, dim: int) -> None:
        super().__init__(loss)
        self.needs_modalities = loss.needs_modalities
        self.dim = dim

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The loss of the prefixes. Raises ConfigError when the embeddings are narrower than the prefix."""
        _check_width(self.dim, embedded.image.shape[1])
        image, text = (normalize(widened(rows[:, : self.dim]), dim=1) for rows in (embedded.image, embedded.text))
        value: Tensor = self.loss(dataclasses.replace(embedded, image=image, text=text))
        return value


@register.loss("matryoshka")
def matryoshka(
    dims: Sequence[int],
    loss: Any,
    weights: Sequence[float] | None = None,
    dim: int | None = None,
    classes: int | None = None,
) -> Combined:
    """The mean of a loss over nested prefixes of the embeddings.

    With x[:m] the first m dimensions of x, brought back to unit length,

        L = sum_m w_m * loss(image[:m], text[:m]) / sum_m w_m

    Each prefix has a copy of the loss, with its own temperature, queue or classifier. Source: Kusupati et
    al. 2022 (arXiv 2205.13147), equation 1, for embeddings rather than classifiers, and as a mean, so that
    the number of prefixes does not change the size of the loss.

        loss = {name = "matryoshka", dims = [32, 64, 128, 256], loss = {name = "info_nce"}}

    Args:
        dims: m, rising; the last is usually the full width.
        loss: a name, or a table of a loss with its options.
        weights: w, one for each prefix; all 1 if left out.
        dim: width of the embeddings, if known.
        classes: passed on to the loss.

    Raises ConfigError for dims that do not rise or exceed `dim`, or weights that do not match.
    """
    if not _rising(dims):
        raise ConfigError(f"dims must be whole numbers that rise from at least 1, found {dims!r}")
    if dim is not None:
        _check_width(dims[-1], dim)
    part = part_of(loss, "matryoshka.loss")
    weights = [positive("weight", weight) for weight in ([1.0] * len(dims) if weights is None else weights)]
    if len(weights) != len(dims):
        raise ConfigError(f"weights must be one for each of {len(dims)} dims, found {len(weights)}")
    prefixes: dict[str, Loss] = {
        f"first-{width}": Prefix(build("loss", part, dim=width, classes=classes), width) for width in dims
    }
    return Combined(prefixes, [weight / sum(weights) for weight in weights])


def _rising(dims: Any) -> bool:
    if not isinstance(dims, list | tuple) or not all(type(width) is int for width in dims):
        return False
    return len(dims) > 0 and all(low < high for low, high in pairwise([0, *dims]))


def _check_width(prefix: int, width: int) -> None:
    if prefix > width:
        raise ConfigError(f"dims has {prefix}, but the embeddings have {width} dimensions; raise dim or lower dims")
