"""A pretrained text encoder of transformers, fine-tuned whole or through LoRA."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from diptych.core.config import check_options, unknown
from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.registry import register
from diptych.core.shapes import Float, Int
from diptych.encoders.pretrained import load_hub_model
from diptych.models.networks.base import Network, mask_of, set_pace, trim_padding

POOLINGS = ("mean", "cls")
_LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.1, "targets": ()}


@register.network("hf")
class PretrainedText(Network):
    """Token states of a transformers model, pooled; all weights are trained, or only the few of LoRA.

    Sits on the tower `{name = "tokens:NAME_OR_FOLDER"}` of the same model. LoRA (Hu et al. 2021, arXiv
    2106.09685) adds to each chosen linear layer W the product of two narrow matrices, W + alpha/rank * B A;
    it is merged into W when the model is exported. Needs the [hub] extra.

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
        if lora is not None:
            self.body = _with_lora(self.body, lora)

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

    def for_export(self) -> PretrainedText:
        """A copy with LoRA's products merged into the weights they belong to."""
        merged = copy.deepcopy(self)
        if hasattr(merged.body, "merge_and_unload"):
            merged.body = merged.body.merge_and_unload()
        return merged


def _with_lora(body: nn.Module, options: Mapping[str, Any]) -> Any:
    peft = need("peft", "LoRA")
    check_options(options, _LORA, "lora")
    chosen = {**_LORA, **options}
    if not (isinstance(chosen["rank"], int) and chosen["rank"] >= 1):
        raise ConfigError(f"lora.rank must be a whole number of at least 1, found {chosen['rank']!r}")
    targets = list(chosen["targets"]) or _attention_layers(body)
    try:
        return peft.get_peft_model(
            body,
            peft.LoraConfig(
                r=chosen["rank"],
                lora_alpha=float(chosen["alpha"]),
                lora_dropout=float(chosen["dropout"]),
                target_modules=targets,
                bias="none",
            ),
        )
    except ValueError as error:
        raise ConfigError(f"lora cannot be put on this model: {str(error).splitlines()[0]}") from error


def _attention_layers(body: nn.Module) -> list[str]:
    """Names of the query and value layers, as the common architectures call them."""
    last = {name.rpartition(".")[2] for name, part in body.named_modules() if isinstance(part, nn.Linear)}
    for pair in (("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("q", "v")):
        if set(pair) <= last:
            return list(pair)
    raise ConfigError(f"found no query and value layers to put LoRA on; set lora.targets to some of {sorted(last)}")
