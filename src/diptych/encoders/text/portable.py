"""The tokenizers of pretrained models in a form that runs on the package `tokenizers` alone, with identical ids.

What is read here from transformers or open_clip is written into a model folder by `TokenTower.save`, and read again
without either of them.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from diptych.core.errors import ConfigError, ModelError
from diptych.core.extras import need
from diptych.core.protocols import TextTower
from diptych.encoders.text.rules import TextRules
from diptych.encoders.text.tokens import TokenTower


@runtime_checkable
class Tokenising(Protocol):
    """A text tower that reads token ids; `tokenizer` and `rules` are what `TokenTower` takes."""

    @property
    def max_tokens(self) -> int | None:
        """Length of a row."""
        ...

    @property
    def languages(self) -> frozenset[str]:
        """What it was made for."""
        ...

    def portable_tokenizer(self) -> tuple[Any, TextRules]:
        """A `tokenizers.Tokenizer` and what surrounds it."""
        ...


def portable_tokens(tower: TextTower, max_tokens: int | None = None, languages: Iterable[str] = ()) -> TokenTower:
    """The token ids that a pretrained text tower reads, as a tower of its own that needs no PyTorch.

    `max_tokens` shortens the rows; they have the tower's own length without it. `languages` are the tower's own
    unless given. Raises ModelError for a tower whose tokenizer cannot be carried over, ConfigError for a length that
    the model cannot read.
    """
    if not isinstance(tower, Tokenising):
        raise ModelError(
            f"{type(tower).__name__} has no tokenizer that runs without its library; found are those of hf: and "
            "open_clip: models"
        )
    tokenizer, rules = tower.portable_tokenizer()
    own = tower.max_tokens
    length = own if max_tokens is None else max_tokens
    if length is None:
        raise ConfigError("this tokenizer states no length; set max_tokens, the longest text in tokens")
    if own is not None and (length > own or (rules.full_length and length != own)):
        expected = f"exactly {own}" if rules.full_length else f"at most {own}"
        raise ConfigError(f"found max_tokens = {length}; this model reads {expected}")
    return TokenTower(tokenizer, length, list(languages) or tower.languages, rules=rules)


def from_transformers(tokenizer: Any, rules: TextRules) -> tuple[Any, TextRules]:
    """A tokenizer of transformers; `rules` are what the tower above it adds.

    Raises ModelError for one that is written in Python and has no equal in the package `tokenizers`.
    """
    tokenizers = need("tokenizers", "a tokenizer")
    if tokenizer.truncation_side != "right":
        raise ModelError(f"{tokenizer.name_or_path} cuts texts at their start, which token rows do not do")
    if rules.full_length and "attention_mask" in tokenizer.model_input_names:
        raise ModelError(
            f"{tokenizer.name_or_path} pads texts to their full length and masks the padding too, which token rows do "
            'not do; published models of this family have model_input_names = ["input_ids"] in tokenizer_config.json'
        )
    rules = dataclasses.replace(
        rules,
        pad=int(tokenizer.pad_token_id or 0),
        pad_left=tokenizer.padding_side == "left",
    )
    if type(tokenizer).__name__ == "SiglipTokenizer":
        return _from_siglip(tokenizer, rules)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"{tokenizer.name_or_path} has a {type(tokenizer).__name__}, which runs in transformers alone")
    return tokenizers.Tokenizer.from_str(backend.to_str()), rules


def _from_siglip(tokenizer: Any, rules: TextRules) -> tuple[Any, TextRules]:
    """SigLIP's tokenizer, which SentencePiece runs, as a Unigram model with the same pieces.

    Its steps before that are in the rules: lower case, "▁" before the text, and `SiglipNormaliser`.
    """
    tokenizers, converters = need("tokenizers", "a tokenizer"), need("transformers.convert_slow_tokenizer", "SigLIP")
    found = converters.import_protobuf().ModelProto.FromString(tokenizer.sp_model.serialized_model_proto())
    pieces = [(piece.piece, piece.score) for piece in found.pieces]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, found.trainer_spec.unk_id))
    special = [token for _, token in sorted(tokenizer.added_tokens_decoder.items())]
    made.add_special_tokens(special)
    end = str(tokenizer.eos_token)
    made.post_processor = _between(made, "", end)
    lower = ("lower",) if tokenizer.do_lower_case else ()
    return made, dataclasses.replace(
        rules,
        cleaning=(*rules.cleaning, *lower, "spaced"),
        prefix=f"▁{rules.prefix}",
        closing_once=True,
        charsmap=base64.b64encode(found.normalizer_spec.precompiled_charsmap).decode(),
        special=tuple(str(token) for token in special),
    )


def from_open_clip(tokenizer: Any, *, reads_padding: bool) -> tuple[Any, TextRules]:
    """Any tokenizer of open_clip; `reads_padding` says whether its model attends to the padding.

    Raises ModelError for one that drops tokens at random, or of a kind that is not known here.
    """
    name = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    cleaning = _CLEANING.get(str(name))
    if cleaning is None:
        raise ModelError(f"open_clip's {type(tokenizer).__name__} of this model runs in open_clip alone")
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return _from_simple(tokenizer), TextRules(cleaning=cleaning, full_length=reads_padding)
    made, rules = from_transformers(inner, TextRules(cleaning=cleaning))
    rules = dataclasses.replace(rules, full_length=reads_padding)
    if tokenizer.tokenizer_mode == "clips":
        made.post_processor = _between(made, inner.bos_token, inner.eos_token)
        return made, dataclasses.replace(rules, full_length=True, last=int(inner.cls_token_id))
    zeroed = ((int(inner.sep_token_id), 0),) if tokenizer.strip_sep_token else ()
    return made, dataclasses.replace(rules, replaced=zeroed)


_CLEANING = {  # open_clip's functions, by what they are called there
    "_clean_lower": ("repaired", "joined", "lower"),
    "_clean_whitespace": ("repaired", "joined"),
    "_clean_canonicalize": ("repaired", "canonical"),
}


def _from_simple(tokenizer: Any) -> Any:
    """open_clip's SimpleTokenizer as byte-level BPE with the same vocabulary, merges, splits and special tokens."""
    tokenizers = need("tokenizers", "a tokenizer")
    if tokenizer.reduction_fn is not None:
        raise ModelError("this tokenizer drops tokens at random (reduction_mask), so its ids cannot be repeated")
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    model = tokenizers.models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>")
    made = tokenizers.Tokenizer(model)
    special = [tokenizer.decoder[number] for number in tokenizer.all_special_ids]
    made.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in special])
    pieces = tokenizers.Regex(f"(?i:{tokenizer.pat.pattern})")
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(pieces, "removed", invert=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = _between(made, *special[:2])
    return made


def _between(made: Any, start: str, end: str) -> Any:
    """What sets a text between two special tokens of the tokenizer `made`; "" is none."""
    tokens = [(token, made.token_to_id(token)) for token in (start, end) if token]
    processing = need("tokenizers.processors", "a tokenizer").TemplateProcessing
    return processing(single=f"{start} $A {end}".strip(), special_tokens=tokens)
