"""LoRA: of a pretrained network, only narrow matrices beside some of its linear layers learn.

To each chosen weight W is added the product of two narrow matrices, W + alpha/rank * B A, where B begins as zeros.
Source: Hu et al. 2021, arXiv 2106.09685. Linear layers are done by peft. The attention of PyTorch (as in open_clip's
models) keeps query, key and value in one matrix that no linear layer owns, so `nn.MultiheadAttention` is done here.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.config import check_options
from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.registry import Part
from diptych.core.shapes import Float
from diptych.models.networks.base import Network

DEFAULTS = {"rank": 8, "alpha": 16.0, "dropout": 0.1, "targets": ()}
_QUERY_AND_VALUE = (("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("q", "v"), ("qkv",))


def check_lora(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of LoRA. Raises ConfigError for an unknown one, or a rank that is none."""
    check_options(options, DEFAULTS, "lora")
    chosen = {**DEFAULTS, **options}
    if not (isinstance(chosen["rank"], int) and chosen["rank"] >= 1):
        raise ConfigError(f"lora.rank must be a whole number of at least 1, found {chosen['rank']!r}")
    return chosen


def add_lora(body: nn.Module, options: Mapping[str, Any]) -> nn.Module:
    """The body with all weights frozen and LoRA's matrices beside them; it may be the same object.

    `options` are `{rank = 8, alpha = 16, dropout = 0.1, targets = []}`; targets left empty means the query and value
    layers of the attention. Raises ConfigError when there are none, or for targets that are not linear layers.
    """
    chosen = check_lora(options)
    body.requires_grad_(False)
    targets = list(chosen["targets"]) or _query_and_value(body)
    if not targets:
        _add_to_attention(body, chosen)
        return body
    peft = need("peft", "LoRA")
    wanted = peft.LoraConfig(
        r=chosen["rank"],
        lora_alpha=float(chosen["alpha"]),
        lora_dropout=float(chosen["dropout"]),
        target_modules=targets,
        bias="none",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what peft calls in transformers has a newer name
            adapted: nn.Module = peft.get_peft_model(body, wanted)
    except ValueError as error:
        raise ConfigError(f"lora cannot be put on this model: {str(error).splitlines()[0]}") from error
    return adapted


class Adaptable(Network):
    """A network whose `body` learns whole, or through LoRA where `_lora` has its options."""

    body: Any
    _lora: Mapping[str, Any] | None

    def start(self) -> None:
        """Put LoRA's matrices beside the weights, where they were asked for."""
        if self._lora is not None:
            self.body = add_lora(self.body, self._lora)

    def for_export(self) -> Adaptable:
        """A copy with LoRA's products merged into the weights they belong to."""
        made = copy.copy(self)
        made._modules = {**self._modules, "body": merged(self.body)}
        return made

    @classmethod
    def saved(cls, part: Part) -> Part:
        """Without LoRA, which is merged."""
        return Part(part.name, {key: value for key, value in part.options.items() if key != "lora"})


def merged(body: Any) -> Any:
    """A copy with LoRA's products added to the weights they belong to: the architecture as it was before."""
    body = copy.deepcopy(body)
    if hasattr(body, "merge_and_unload"):
        return body.merge_and_unload()
    for name, part in list(body.named_modules()):
        if isinstance(part, LoraAttention):
            above, _, last = name.rpartition(".")
            setattr(body.get_submodule(above), last, part.merged())
    return body


class LoraAttention(nn.Module):
    """`nn.MultiheadAttention` of one sequence with itself, with LoRA on its query and its value.

    Args:
        attention: with frozen weights; query, key and value of one width.
        rank, alpha, dropout: of LoRA.
    """

    def __init__(self, attention: nn.MultiheadAttention, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        if not attention._qkv_same_embed_dim or attention.bias_k is not None or attention.add_zero_attn:
            raise ConfigError("lora cannot be put on an attention whose key or value has a width of its own")
        self.attention = attention
        self.batch_first = attention.batch_first  # what transformers of open_clip ask for
        width = attention.embed_dim
        self.scale = float(alpha) / rank
        self.dropout = nn.Dropout(dropout)
        self.lora_a = nn.Parameter(torch.empty(2, rank, width))  # of query and value
        self.lora_b = nn.Parameter(torch.zeros(2, width, rank))
        for matrix in self.lora_a:
            nn.init.kaiming_uniform_(matrix.detach(), a=math.sqrt(5))  # as peft's

    def forward(
        self,
        query: Float[Tensor, "b l d"],
        key: Float[Tensor, "b l d"],
        value: Float[Tensor, "b l d"],
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """What the attention gives, without its weights. Raises ConfigError for a key that is not the query."""
        if key is not query or value is not query or need_weights:
            raise ConfigError("lora is put on attention within one sequence alone; set lora.targets to linear layers")
        own = self.attention
        x = query if self.batch_first else query.transpose(0, 1)
        projected = functional.linear(x, own.in_proj_weight, own.in_proj_bias)
        narrow = self.dropout(x)
        more = [
            self.scale * functional.linear(functional.linear(narrow, a), b)
            for a, b in zip(self.lora_a, self.lora_b, strict=True)
        ]
        q, k, v = projected.chunk(3, dim=-1)

        def by_head(rows: Tensor) -> Tensor:
            return rows.reshape(*rows.shape[:2], own.num_heads, -1).transpose(1, 2)

        mask = attn_mask
        if mask is not None:  # of truth values: PyTorch's layer leaves out what is true, its function what is not
            mask = ~mask if mask.dtype == torch.bool else mask.to(projected.dtype)
        if mask is not None and mask.ndim == 3:  # one for each head of each row
            mask = mask.reshape(len(x), -1, *mask.shape[1:])
        drop = own.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(
            by_head(q + more[0]), by_head(k), by_head(v + more[1]), attn_mask=mask, dropout_p=drop
        )
        joined = own.out_proj(found.transpose(1, 2).reshape(x.shape))
        return (joined if self.batch_first else joined.transpose(0, 1)), None

    @torch.no_grad()
    def merged(self) -> nn.MultiheadAttention:
        """The attention with the products in its weights."""
        query, value = self.scale * self.lora_b @ self.lora_a
        self.attention.in_proj_weight.add_(torch.cat([query, torch.zeros_like(query), value]))
        return self.attention


def _query_and_value(body: nn.Module) -> list[str]:
    """Names of the query and value layers, as the common architectures call them; none where they are in one matrix."""
    last = _linear_layers(body)
    return next((list(names) for names in _QUERY_AND_VALUE if set(names) <= last), [])


def _linear_layers(body: nn.Module) -> set[str]:
    return {name.rpartition(".")[2] for name, part in body.named_modules() if isinstance(part, nn.Linear)}


def _add_to_attention(body: nn.Module, chosen: Mapping[str, Any]) -> None:
    found = [name for name, part in body.named_modules() if type(part) is nn.MultiheadAttention]
    if not found:
        names = sorted(_linear_layers(body))
        more = f"set lora.targets to some of {names}" if names else "leave lora out, or freeze this side"
        raise ConfigError(f"found no query and value layers to put LoRA on; {more}")
    for name in found:
        above, _, last = name.rpartition(".")
        parent = body.get_submodule(above)
        setattr(parent, last, LoraAttention(getattr(parent, last), chosen["rank"], chosen["alpha"], chosen["dropout"]))
