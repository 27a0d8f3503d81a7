"""Any text model of Hugging Face transformers, or a sentence-transformers folder, as a frozen text tower."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, ModelError
from diptych.core.registry import register
from diptych.core.shapes import Bool, Float32
from diptych.encoders.hub import hub_folder, lasting
from diptych.encoders.pretrained import HubModel, features_of, load_hub_model, pretrained
from diptych.encoders.pytorch import TorchTextTower, as_module, frozen_fingerprint, tokenising
from diptych.encoders.text.portable import from_transformers
from diptych.encoders.text.rules import TextRules
from diptych.encoders.text.sentence_transformers import Dense, SentenceRecipe, read_recipe

POOLINGS = ("auto", "projected", "mean", "cls", "max", "last", "pooler")
_UNLIMITED = 1_000_000  # tokenizers without a limit state an astronomical one
_FIXED_LENGTH = ("siglip", "siglip2")  # trained on texts padded to full length
_CONTEXT = {"align": 64, "chinese_clip": 52}  # tokens that these were trained with; their positions would take more


@register.text_tower("hf", "any text model of transformers, also sentence-transformers", arguments=("NAME_OR_FOLDER",))
class TransformersTextTower(TorchTextTower):
    """Pooled features of a text model.

    `pooling`: "projected" is a CLIP-like model's shared space; "mean" the mean of the tokens under the
    mask; "cls" the first token, "last" the last, "max" the largest of each feature, "pooler" the
    model's own pooling layer. "auto" takes what a sentence-transformers folder says (with its dense
    and normalising layers), else "projected" if there is one, else "mean". `prefix` goes before every
    text, for models trained with one ("query: "). With `exact` texts reach the tokenizer as they are, as in the
    model's own library, which is so for CLIP-like models; below others Unicode is composed and whitespace joined
    first. `languages` is what the caller knows of the model.

    Loads offline, and never runs code from the folder. Safe to use from several threads. Raises ModelError for a model
    that is not here or not whole, ConfigError for a pooling it does not have.
    """

    def __init__(
        self,
        name_or_folder: str | Path,
        *,
        pooling: str = "auto",
        prefix: str = "",
        exact: bool | None = None,
        languages: Collection[str] = (),
        device: str = "auto",
    ) -> None:
        folder = hub_folder(name_or_folder)
        self.address = f"hf:{lasting(str(name_or_folder), folder)}"
        recipe = read_recipe(folder)
        self._model = load_hub_model(recipe.model if recipe else name_or_folder, device)
        self._module = self._model.module
        self._tokenizer = _tokenizer(self._model.folder)
        self._as_loaded = _cut_and_padding(self._tokenizer)
        self._recipe = _choose(recipe, self._model, pooling)
        self._device = next(self._module.parameters()).device
        self._dense = [_dense_layer(dense, self._device) for dense in self._recipe.dense]
        self._exact = self._model.two_sided if exact is None else exact
        self._prefix = prefix = prefix or self._recipe.prompt
        self._rules = TextRules(() if self._exact else ("clean",), prefix)
        if self._recipe.lower_case and self._exact:
            _lower_first(self._tokenizer)
        elif self._recipe.lower_case:
            self._rules = TextRules(("clean", "lower"), prefix.lower())
        self._fixed_length = str(self._module.config.model_type) in _FIXED_LENGTH
        self.languages = frozenset(languages)
        self.max_tokens: int | None = self._recipe.max_tokens or _longest(self._tokenizer, self._module)

    @property
    def pooling(self) -> str:
        """How token states become a text's features."""
        return self._recipe.pooling

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer and every setting that changes the features."""
        recipe = self._recipe
        settings = [recipe.pooling, recipe.normalise, recipe.lower_case, self.max_tokens, self._prefix]
        settings += [dense.activation for dense in recipe.dense]
        settings += ["exact"] if self._exact and not self._model.two_sided else []
        modules = [self._module, *(layer for layer, _ in self._dense)]
        weights = [frozen_fingerprint(module) for module in modules]
        with tokenising:
            tokenizer = _description(self._tokenizer, *self._as_loaded)
        return fingerprint.combined([*weights, tokenizer, fingerprint.of_json(settings)])

    def _features(self, texts: Sequence[str]) -> Any:
        return self._of_inputs(self._inputs(texts).to(self._device))

    def _inputs(self, texts: Sequence[str], **options: Any) -> Any:
        """Token ids and the mask of texts, cut and padded."""
        prepared = [self._rules.prepare(text) for text in texts]
        with tokenising:
            return self._tokenizer(
                prepared,
                padding="max_length" if self._fixed_length else True,
                truncation=self.max_tokens is not None,
                max_length=self.max_tokens,
                return_tensors="pt",
                **options,
            )

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text without the special ones, cut at `max_tokens`; a text of none is one itself."""
        if len(texts) == 0:
            return []
        inputs = self._inputs(texts, return_special_tokens_mask=True)
        rows = zip(inputs["input_ids"].tolist(), inputs["special_tokens_mask"].tolist(), strict=True)
        kept = [[token for token, special in zip(*row, strict=True) if not special] for row in rows]
        with tokenising:
            written = [self._tokenizer.convert_ids_to_tokens(ids) for ids in kept]
        return [words or [text] for words, text in zip(written, texts, strict=True)]

    def embed_words(
        self, texts: Sequence[str], most: int
    ) -> tuple[Float32[np.ndarray, "b d"], Float32[np.ndarray, "b w d"], Bool[np.ndarray, "b w"]]:
        """Features of texts, and the last states of their tokens, through the layers behind the pooling."""
        import torch

        features = np.zeros((len(texts), self.dim), dtype=np.float32)
        words = [features[:0]] * len(texts)
        for chosen in self._batches(texts):
            inputs = self._inputs([texts[number] for number in chosen], return_special_tokens_mask=True)
            kept = ~inputs.pop("special_tokens_mask").bool().numpy()
            with torch.inference_mode():
                pooled, states = self._pooled_and_states(inputs.to(self._device))
                features[chosen] = self._behind_pooling(pooled).float().cpu().numpy()
                states = self._behind_pooling(states).float().cpu().numpy()
            for number, of_text, which in zip(chosen, states, kept, strict=True):
                words[number] = of_text[which][:most] if which.any() else features[[number]]
        count = np.array([len(each) for each in words], dtype=np.int64)
        mask = np.arange(count.max(initial=1)) < count[:, np.newaxis]
        rows = np.zeros((*mask.shape, self.dim), dtype=np.float32)
        rows[mask] = np.concatenate([features[:0], *words])
        return features, rows, mask

    def _pooled_and_states(self, inputs: Any) -> tuple[Any, Any]:
        """(b, d) and (b, n, d) before the layers behind the pooling, from one forward pass where there is one."""
        if self.pooling == "projected":
            return self._pooled(inputs), self._states(inputs)
        output = self._module(**inputs)
        return self._pool_output(output, inputs), output.last_hidden_state

    def _states(self, inputs: Any) -> Any:
        """(b, n, d) last states of the tokens of a CLIP-like model, in the space of its features."""
        network, projection = (getattr(self._module, name, None) for name in ("text_model", "text_projection"))
        if network is None or not callable(projection):
            raise ConfigError(
                f"{self.address} has no states of words in the space of its features; choose another text model, "
                "such as a BERT, or read words alone"
            )
        mask = inputs.get("attention_mask")
        return projection(network(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state)

    @property
    def any_length(self) -> bool:
        """Whether a row may end with its longest text; models trained on full rows read the padding's positions."""
        return not self._fixed_length and self._tokenizer.padding_side == "right"

    def torch_module(self, *, copied: bool = True) -> Any:
        """The network with its dense layers: token ids (b, l), -1 where masked, to features."""
        own = copy.copy(self)
        if copied:
            own._module, own._dense = copy.deepcopy((self._module, self._dense))
        return as_module(own._of_ids, own._module, *(layer for layer, _ in own._dense))

    def _of_ids(self, ids: Any) -> Any:
        kept = ids >= 0
        padding = getattr(getattr(self._module.config, "text_config", self._module.config), "pad_token_id", None)
        return self._of_inputs({"input_ids": ids.where(kept, padding or 0), "attention_mask": kept.long()})

    def _of_inputs(self, inputs: Any) -> Any:
        return self._behind_pooling(self._pooled(inputs))

    def _behind_pooling(self, features: Any) -> Any:
        """Through the dense and normalising layers of a sentence-transformers folder."""
        import torch

        for layer, activation in self._dense:
            features = activation(layer(features))
        return torch.nn.functional.normalize(features, dim=-1) if self._recipe.normalise else features

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special ones counted, before any cut."""
        if len(texts) == 0:
            return []
        prepared = [self._rules.prepare(text) for text in texts]
        with tokenising:
            encoded = self._tokenizer(prepared, truncation=False, padding=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def portable_tokenizer(self) -> tuple[Any, TextRules]:
        """The tokenizer and what surrounds it, for `portable_tokens`."""
        return from_transformers(self._tokenizer, dataclasses.replace(self._rules, full_length=self._fixed_length))

    def _pooled(self, inputs: Any) -> Any:
        if self.pooling == "projected":
            mask = inputs.get("attention_mask")
            return features_of(self._module.get_text_features(input_ids=inputs["input_ids"], attention_mask=mask))
        return self._pool_output(self._module(**inputs), inputs)

    def _pool_output(self, output: Any, inputs: Any) -> Any:
        if self.pooling == "pooler":
            return output.pooler_output
        return _pool(output.last_hidden_state, inputs["attention_mask"], self.pooling)


def _pool(states: Any, mask: Any, pooling: str) -> Any:
    """(b, n, d) token states under a (b, n) mask to (b, d); a text of no tokens gives zeros."""
    import torch

    kept = mask.bool().unsqueeze(-1)
    if pooling == "mean":
        return states.masked_fill(~kept, 0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
    if pooling == "max":
        largest = states.masked_fill(~kept, -torch.inf).amax(dim=1)
        return largest.masked_fill(~kept.any(dim=1), 0)
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    if pooling == "cls":  # the first token that is no padding, on whichever side the padding is
        chosen = places.masked_fill(~mask.bool(), mask.shape[1] - 1).amin(dim=1)
    else:
        chosen = places.masked_fill(~mask.bool(), 0).amax(dim=1)
    return states[torch.arange(len(states), device=mask.device), chosen]


def _choose(recipe: SentenceRecipe | None, model: HubModel, pooling: str) -> SentenceRecipe:
    if model.check_pooling(pooling, POOLINGS) != "auto":
        return SentenceRecipe(model.folder, pooling)
    return recipe or SentenceRecipe(model.folder, "projected" if model.two_sided else "mean")


def _tokenizer(folder: Path) -> Any:
    tokenizer = pretrained("AutoTokenizer", folder, f"the tokenizer in {folder}")
    # Without its files a tokenizer is made all the same, and takes every word for an unknown one.
    files = sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()})
    if tokenizer.vocab_files_names and not any((folder / file).is_file() for file in files):
        raise ModelError(f"{folder} has no tokenizer; expected one of {', '.join(files)} in it")
    return tokenizer


def _cut_and_padding(tokenizer: Any) -> tuple[Any, Any]:
    """How a tokenizer cuts and pads by itself; every call sets both anew."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return (None, None) if backend is None else (backend.truncation, backend.padding)


def _lower_first(tokenizer: Any) -> None:
    """All letters in lower case, as sentence-transformers does it: in the tokenizer, behind its special tokens."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *filter(None, [backend.normalizer])])


def _description(tokenizer: Any, cut: Any, padding: Any) -> str:
    """Everything a tokenizer does, as text, with the cut and padding it was loaded with, whatever it was used for.

    Its vocabulary when it cannot say more.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return repr(sorted(tokenizer.get_vocab().items()))
    backend.enable_truncation(**cut) if cut else backend.no_truncation()
    backend.enable_padding(**padding) if padding else backend.no_padding()
    return str(backend.to_str())


def _longest(tokenizer: Any, module: Any) -> int | None:
    """The smallest of the tokenizer's limit, the model's positions and its family's own; None when none says."""
    text_config = getattr(module.config, "text_config", module.config)
    positions = getattr(text_config, "max_position_embeddings", None)
    if positions is not None:
        positions -= _first_position(module)
    limits = (tokenizer.model_max_length, positions, _CONTEXT.get(str(module.config.model_type)))
    return min((int(limit) for limit in limits if limit and limit < _UNLIMITED), default=None)


def _first_position(module: Any) -> int:
    """The place of a text's first token: RoBERTa and its kind number their positions after the padding's id."""
    tables = (part for name, part in module.named_modules() if name.endswith("position_embeddings"))
    padded = (getattr(table, "padding_idx", None) for table in tables)
    return next((int(number) + 1 for number in padded if number is not None), 0)


def _dense_layer(dense: Dense, device: Any) -> tuple[Any, Any]:
    import torch
    from safetensors.torch import load_file

    weights = load_file(dense.folder / "model.safetensors")
    rows, columns = weights["linear.weight"].shape
    layer = torch.nn.Linear(columns, rows, bias=dense.bias)
    layer.load_state_dict({name.removeprefix("linear."): value for name, value in weights.items()})
    activations = {
        "tanh": torch.nn.Tanh(),
        "relu": torch.nn.ReLU(),
        "gelu": torch.nn.GELU(),
        "identity": torch.nn.Identity(),
    }
    return layer.eval().requires_grad_(False).to(device), activations[dense.activation]
