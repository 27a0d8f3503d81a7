"""Trainable heads: from a tower's features to the shared space."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.config import Part, check_options, unknown
from diptych.core.errors import ConfigError

_POOL_ROWS = 256  # maps that go through the late stages at once


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


class MLPHead(Head):
    """Standardise, LayerNorm, input dropout, then linear + one hidden GELU layer in parallel.

    Args:
        features: width of the tower's features.
        dim: width of the shared space.
        hidden: width of the hidden layer.
        input_dropout: share of features dropped in training; with few pairs this is what keeps the
            head from learning the training pictures by heart.
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

    def __init__(self, heads: list[Head]) -> None:
        super().__init__()
        if not heads:
            raise ConfigError("an ensemble needs at least one head, found none")
        self.heads = nn.ModuleList(heads)

    def fit_statistics(self, sample: Float[Tensor, "n f"]) -> None:
        """Fit every member's standardisation."""
        for head in self.heads:
            if isinstance(head, Head):
                head.fit_statistics(sample)

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length, d = members x members' d."""
        joined = torch.cat([head(features) for head in self.heads], dim=-1)
        return torch.div(joined, len(self.heads) ** 0.5)


class EfficientNetTail(Head):
    """The late stages of EfficientNet-Lite0 and an MLP head, trained together on a cached early map.

    Fine-tuning the part of the backbone that matters, at a third of its cost: sits on the tower
    "efficientnet-lite0-stem". Batch norms keep their ImageNet statistics.

    Args:
        features: width of the stem's flattened map.
        dim: width of the shared space.
        rate: learning rate of the late stages as a share of the head's.
        hidden, input_dropout, dropout: of the MLP head.
    """

    def __init__(
        self,
        features: int,
        dim: int,
        *,
        rate: float = 0.1,
        hidden: int = 1024,
        input_dropout: float = 0.4,
        dropout: float = 0.5,
    ) -> None:
        from diptych.encoders.image.efficientnet_lite import DIM, STEM_MAP, Tail, imagenet

        super().__init__()
        expected = math.prod(STEM_MAP)
        if features != expected:
            raise ConfigError(
                f"the head efficientnet_tail takes {expected} features, found {features}; "
                'set image.tower = "efficientnet-lite0-stem"'
            )
        self.tail = Tail(imagenet())
        self.tail.learning_rate_scale = float(rate)
        self.head = MLPHead(DIM, dim, hidden=hidden, input_dropout=input_dropout, dropout=dropout)

    def fit_statistics(self, sample: Float[Tensor, "n f"]) -> None:
        """Fit the MLP's standardisation on the pooled features of the untrained late stages."""
        self.tail.eval()
        with torch.inference_mode():
            pooled = torch.cat([self.tail(part) for part in torch.split(sample, _POOL_ROWS)])
        self.head.fit_statistics(pooled.clone())

    def train(self, mode: bool = True) -> EfficientNetTail:
        """As usual, but the late stages stay in evaluation mode, so their batch norms keep still."""
        super().train(mode)
        self.tail.eval()
        return self

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        embedded: Tensor = self.head(self.tail(features).float())
        return embedded


HEADS = {"linear": LinearHead, "mlp": MLPHead, "efficientnet_tail": EfficientNetTail}


def build_head(part: Part, features: int, dim: int) -> Head:
    """The head that a config names; `{name = "ensemble", members = [...]}` puts several side by side.

    `dim` is the width of the whole output. Raises ConfigError for an unknown name or option.
    """
    if part.name == "ensemble":
        members = part.options.get("members", ())
        if not members or dim % len(members):
            raise ConfigError(f"an ensemble of {len(members)} heads cannot share {dim} dimensions evenly")
        parts = [Part(member["name"], {k: v for k, v in member.items() if k != "name"}) for member in members]
        return EnsembleHead([build_head(member, features, dim // len(members)) for member in parts])
    if part.name not in HEADS:
        raise unknown("head", part.name, [*HEADS, "ensemble"])
    head: Any = HEADS[part.name]
    allowed = [name for name in inspect.signature(head).parameters if name not in ("features", "dim")]
    check_options(part.options, allowed, f"head {part.name!r}")
    try:
        built: Head = head(features, dim, **part.options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"head {part.name!r} cannot take {dict(part.options)}: {error}") from error
    return built


def ensemble_of(part: Part, count: int) -> Part:
    """The config of `count` equal heads side by side; one head stays itself."""
    if count == 1:
        return part
    return Part("ensemble", {"members": [{"name": part.name, **part.options} for _ in range(count)]})
