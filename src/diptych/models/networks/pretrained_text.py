"""A pretrained text encoder of transformers, fine-tuned whole or through LoRA."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float, Int
from diptych.encoders.pretrained import load_hub_model
from diptych.models.networks.base import mask_of, set_pace, trim_padding
from diptych.models.networks.lora import Adaptable, check_lora

POOLINGS = ("mean", "cls")


@register.network("hf")
class PretrainedText(Adaptable):
    """Token states of a transformers model, pooled; all weights are trained, or only the few of LoRA.

    Sits on the tower `{name = "tokens:NAME_OR_FOLDER"}` of the same model. LoRA is merged when the model is exported.
    Needs the [hub] extra.

    Args:
        vocabulary: how many token ids the tower has; must not exceed the model's.
        model: a folder or a name in the hub's cache.
        pooling: "mean" over the tokens, or the first token's state, "cls".
        rate: learning rate as a share of the head's.
        frozen_epochs: epochs in which the head learns alone.
        lora: empty for fine-tuning all weights, or `{rank = 8, alpha = 16, dropout = 0.1, targets = []}`;
            targets left empty means the attention's query and value layers.

    Raises ModelError when the model is not here, ConfigError for options that do not fit it.
    """

    pretrained = True

    def __init__(
        self,
        vocabulary: int,
        *,
        model: str,
        pooling: str = "mean",
        rate: float = 0.05,
        frozen_epochs: int = 0,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        # A copy: the loader shares one frozen module among all towers of that model.
        self.body: Any = copy.deepcopy(load_hub_model(model, "cpu").module).train().requires_grad_(True)
        for name, parameter in self.body.named_parameters():
            if "pooler" in name.split("."):
                parameter.requires_grad_(False)  # its output is not used
        if vocabulary > self.body.config.vocab_size:
            raise ConfigError(
                f"the tower has {vocabulary} token ids, the model {model} only {self.body.config.vocab_size}; "
                f'set tower = "tokens:{model}"'
            )
        self.pooling = pooling
        self.dim = int(self.body.config.hidden_size)
        set_pace(self, rate, frozen_epochs)
        self._lora = None if lora is None else check_lora(lora)

    def forward(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b f"]:
        """Pooled states of rows of token ids (-1 is padding)."""
        ids = trim_padding(rows)
        kept = mask_of(ids)
        states = self.body(input_ids=ids.clamp(min=0), attention_mask=kept.long()).last_hidden_state
        if self.pooling == "cls":
            first: Tensor = states[:, 0]
            return first
        weight = kept.unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        return mean

    def attention(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        """How the states that become the features spread their attention over the tokens in the last layer.

        The mean over heads, and over the states that are pooled. Raises ConfigError for a model that does not give it.
        """
        ids = trim_padding(rows)
        kept = mask_of(ids)
        self.body.set_attn_implementation("eager")  # the fused ones keep no shares
        found = self.body(input_ids=ids.clamp(min=0), attention_mask=kept.long(), output_attentions=True)
        if not getattr(found, "attentions", None):
            raise ConfigError(f"{type(self.body).__name__} does not say what it attends to")
        shares: Tensor = found.attentions[-1].mean(1)  # (b, l, l)
        if self.pooling == "cls":
            return shares[:, 0]
        weight = kept.unsqueeze(-1).to(shares.dtype)
        return (shares * weight).sum(1) / weight.sum(1).clamp(min=1)
