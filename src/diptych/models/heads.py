"""Trainable heads: from a tower's features to the shared space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.registry import Part, build, part_of, register
from diptych.core.shapes import Float, Shaped


class Standardise(nn.Module):
    """(x - mean) / std per feature, with statistics of the training features kept as buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, sample: Float[Tensor, "n f"]) -> None:
        """Take mean and standard deviation from a sample; constant features are left unscaled."""
        self.mean.copy_(sample.mean(0))
        std = sample.std(0, unbiased=False)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... f"]:
        """Standardised features."""
        return (features - self.mean) / self.std


class Head(nn.Module):
    """Base of the heads: features in, L2-normalised embeddings out."""

    standardise: Standardise

    def fit_statistics(self, sample: Float[Tensor, "n f"]) -> None:
        """Fit the input standardisation on training features."""
        self.standardise.fit(sample)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        raise NotImplementedError


@register.head("identity")
class IdentityHead(Head):
    """The tower's features, brought to unit length: the space of a pretrained joint model as it is."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        if features != dim:
            raise ConfigError(
                f"this head keeps the tower's {features} features; leave out dim or set it to that, found {dim}"
            )

    def fit_statistics(self, sample: Float[Tensor, "n f"]) -> None:
        """Nothing to fit."""

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        return functional.normalize(features, dim=-1)


@register.head("adapter")
class AdapterHead(IdentityHead):
    """The pretrained space and a small correction: normalise(x + scale * MLP(x)), with x the features at unit length.

    The MLP's last layer begins as zeros, so training starts exactly at the pretrained space. It is the residual adapter
    of Houlsby et al. 2019 (arXiv 1902.00751), section 2, above the model as in CLIP-Adapter (arXiv 2110.04544).

    Args:
        features, dim: width of the tower's features, and of the space; they are equal.
        hidden: width of the hidden layer.
        scale: of the correction.
        dropout: share of hidden units dropped in training.
    """

    def __init__(self, features: int, dim: int, *, hidden: int = 512, scale: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__(features, dim)
        self.scale = scale
        self.hidden = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        x = functional.normalize(features, dim=-1)
        # times the root of the width, so that the layer sees numbers of about 1
        hidden = self.dropout(functional.gelu(self.hidden(x * x.shape[-1] ** 0.5)))
        return functional.normalize(x + self.scale * self.output(hidden), dim=-1)


@register.head("linear")
class LinearHead(Head):
    """Standardise, dropout, one linear map, L2-normalise."""

    def __init__(self, features: int, dim: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, dim)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        return functional.normalize(self.linear(self.dropout(self.standardise(features))), dim=-1)


@register.head("mlp")
class MLPHead(Head):
    """Standardise, LayerNorm, input dropout, then linear + one hidden GELU layer in parallel.

    Args:
        features: width of the tower's features.
        dim: width of the shared space.
        hidden: width of the hidden layer.
        input_dropout: share of features dropped in training; with few pairs this is what keeps the
            head from memorising the training images.
        dropout: share of hidden units dropped in training.
    """

    def __init__(
        self,
        features: int,
        dim: int,
        *,
        hidden: int = 1024,
        input_dropout: float = 0.4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.norm = nn.LayerNorm(features)
        self.input_dropout = nn.Dropout(input_dropout)
        self.linear = nn.Linear(features, dim)
        self.hidden = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, dim)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        x = self.input_dropout(self.norm(self.standardise(features)))
        hidden = self.dropout(functional.gelu(self.hidden(x)))
        return functional.normalize(self.linear(x) + self.output(hidden), dim=-1)


class EnsembleHead(Head):
    """Several heads side by side: the embedding is their concatenation, so the cosine is their mean cosine."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        if not heads:
            raise ConfigError("an ensemble needs at least one head, found none")
        self.heads = nn.ModuleList(heads)

    def fit_statistics(self, sample: Float[Tensor, "n f"]) -> None:
        """Fit every member's standardisation."""
        for head in self.heads:
            if isinstance(head, Head):
                head.fit_statistics(sample)

    def forward(self, features: Shaped[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length, d = members x members' d."""
        joined = torch.cat([head(features) for head in self.heads], dim=-1)
        return torch.div(joined, len(self.heads) ** 0.5)


@register.head("shared_layer")
class SharedLayerHead(Head):
    """The head of X-MRS: both modalities use the same last linear layer.

    Standardise → BatchNorm → `layers` times (Linear → tanh) → **shared** Linear → own BatchNorm → tanh → L2-normalise.
    `share_layers` gives the layer of one head to the other. Source: X-MRS (arXiv 2012.01345), section 3.2; its code
    has one layer before the shared one.

    Args:
        features: width of what comes in.
        dim: width of the shared space.
        hidden: width between the linear layers; 0 is `dim`, as in the source.
        dropout: share of the features dropped in training; none in the source.
        layers: linear layers of each modality's own, before the shared one.
    """

    def __init__(self, features: int, dim: int, *, hidden: int = 0, dropout: float = 0.0, layers: int = 1) -> None:
        super().__init__()
        at_least("layers", layers, 1)
        width = hidden or dim
        self.standardise = Standardise(features)
        self.norm = nn.BatchNorm1d(features)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, width)
        self.further = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.shared = nn.Linear(width, dim)
        self.norm_shared = nn.BatchNorm1d(dim)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        x = torch.tanh(self.linear(self.dropout(self.norm(self.standardise(features)))))
        for layer in self.further:
            x = torch.tanh(layer(x))
        return functional.normalize(torch.tanh(self.norm_shared(self.shared(x))), dim=-1)


def share_layers(image: Head, text: Head) -> None:
    """Make both heads use the image head's last layer, where both are of the kind that shares it.

    Two ensembles share member by member. Raises ConfigError when only one side is of that kind, the
    layers differ in size, or the members in number.
    """
    ones, others = _members(image), _members(text)
    if not any(isinstance(head, SharedLayerHead) for head in (*ones, *others)):
        return
    if len(ones) != len(others) and isinstance(image, EnsembleHead) and isinstance(text, EnsembleHead):
        raise ConfigError(
            f"ensembles whose heads share a layer need as many members on both sides, found {len(ones)} "
            f"for images and {len(others)} for texts"
        )
    for one, other in zip_longest(ones, others):
        if not (isinstance(one, SharedLayerHead) and isinstance(other, SharedLayerHead)):
            if isinstance(one, SharedLayerHead) or isinstance(other, SharedLayerHead):
                raise ConfigError(
                    "the head shared_layer shares a layer between modalities; give it to both image and text"
                )
        elif one.shared.weight.shape != other.shared.weight.shape:
            raise ConfigError("the heads that share a layer need the same hidden; leave it out on both sides")
        else:
            other.shared = one.shared


def _members(head: nn.Module) -> list[nn.Module]:
    """The heads side by side; a single head is its own only member."""
    return [one for member in head.heads for one in _members(member)] if isinstance(head, EnsembleHead) else [head]


@register.head("ensemble")
def ensemble(features: int, dim: int, members: Sequence[Any] = ()) -> EnsembleHead:
    """Several heads side by side, each a name or a table with its options: `members = ["mlp", "mlp"]`.

    `dim` is the width of the whole output. Raises ConfigError when the members cannot share it evenly.
    """
    if not members or dim % len(members):
        raise ConfigError(f"an ensemble of {len(members)} heads cannot share {dim} dimensions evenly")
    parts = [part_of(member, "a member of an ensemble") for member in members]
    return EnsembleHead([build("head", part, features=features, dim=dim // len(members)) for part in parts])


def ensemble_of(part: Part, count: int) -> Part:
    """The config of `count` equal heads side by side; one head stays itself."""
    if count == 1:
        return part
    return Part("ensemble", {"members": [{"name": part.name, **part.options} for _ in range(count)]})
