"""Translation by models of transformers: MarianMT, one small model a direction, and NLLB-200, one for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diptych.core.batched import batched
from diptych.core.errors import DataError, ModelError, Reason
from diptych.core.registry import register
from diptych.data.language import THREE_LETTERS
from diptych.encoders.pretrained import pretrained, pretrained_model
from diptych.encoders.pytorch import choose_device, freeze

from .models import BEAMS, LineModel, NeuralTranslator

BATCH = 32  # lines at once
_GROWTH = 3  # a translation may have this many times the tokens of its original, and _SPARE more
_SPARE = 20

# The script that NLLB names after a language, for those not in Latin letters.
_SCRIPTS = {
    "Arab": "ar fa ur",
    "Cyrl": "be bg kk mk ru sr tt uk",
    "Grek": "el",
    "Hebr": "he",
    "Deva": "hi",
    "Beng": "bn",
    "Taml": "ta",
    "Thai": "th",
    "Jpan": "ja",
    "Hang": "ko",
    "Hans": "zh",
}
_SCRIPT_OF = {lang: script for script, langs in _SCRIPTS.items() for lang in langs.split()}
_OTHER_NAMES = {"ar": "arb", "ms": "zsm"}  # the variety that NLLB writes
_ABSENT = frozenset({"br"})
CODES = {
    lang: f"{_OTHER_NAMES.get(lang, three)}_{_SCRIPT_OF.get(lang, 'Latn')}"
    for lang, three in THREE_LETTERS.items()
    if lang not in _ABSENT
}


@register.translator("marian", "one model a direction, by transformers", arguments=("MODELS",), optional=True)
class MarianTranslator(NeuralTranslator):
    """Translates by Marian models in folders, or in the Hugging Face cache.

    Models that write several languages and are told which by a token (">>spa<<") are not supported.

    A single model, without {source} and {target} in its name, does the direction that its tokenizer states.

    Raises ModelError when a direction's model is not here or not whole.
    """

    name = "marian"
    published = "Helsinki-NLP/opus-mt-{source}-{target}"

    def supports(self, source: str, target: str) -> bool:
        """Any direction where the models' name has room for it; else the one that the model states."""
        return source != target if self._folders.many else self._folders.direction() == (source, target)

    def _choices(self) -> str:
        stated = None if self._folders.many else self._folders.direction()
        return "-".join(stated) if stated else "models/{source}-{target}"

    def _load(self, folder: Path) -> LineModel:
        return Seq2Seq(folder, self._device, beams=self._beams)


@register.translator("nllb", "200 languages in one model, by transformers", arguments=("MODEL",), optional=True)
class NllbTranslator(NeuralTranslator):
    """Translates by a model of the NLLB-200 family in a folder, or in the Hugging Face cache.

    One folder or hub name for all directions. Note the licence of the published weights (CC BY-NC 4.0): not for
    commercial use.
    """

    name = "nllb"
    published = "facebook/nllb-200-distilled-600M"

    def supports(self, source: str, target: str) -> bool:
        """Any two languages of the table CODES."""
        return source != target and source in CODES and target in CODES

    def _choices(self) -> str:
        return ", ".join(sorted(CODES))

    def _load(self, folder: Path) -> LineModel:
        return Seq2Seq(folder, self._device, beams=self._beams)

    def _lines(self, model: Any, source: str, target: str) -> Callable[[Sequence[str]], list[str]]:
        tokenizer = model.tokenizer
        tokens = [tokenizer.convert_tokens_to_ids(CODES[lang]) for lang in (source, target)]
        for lang, token in zip((source, target), tokens, strict=True):
            if token is None or token == tokenizer.unk_token_id:
                raise ModelError(f"{self._folders.pattern} has no token {CODES[lang]}; expected a model of NLLB-200")
        tokenizer.src_lang = CODES[source]
        return lambda lines: model.translate(lines, first_token=tokens[1])


class Seq2Seq:
    """One model and its tokenizer. Deterministic beam search; no code from the folder is run.

    Args:
        folder: config.json, weights and tokenizer, as `save_pretrained` writes them.
        device: auto, cpu, cuda or cuda:N.
        beams: hypotheses of the beam search.

    Raises ModelError when the folder does not hold such a model, whole.
    """

    def __init__(self, folder: Path, device: str, beams: int = BEAMS) -> None:
        self._device = choose_device(device)
        self._beams = beams
        what = f"the translation model {folder}"
        self.tokenizer = pretrained("AutoTokenizer", folder, what)
        module, _ = pretrained_model("AutoModelForSeq2SeqLM", folder, what)
        self._module = freeze(module, self._device)
        positions = getattr(module.config, "max_position_embeddings", None)
        self._limit = min(int(limit) for limit in (positions, self.tokenizer.model_max_length) if limit)

    def translate(self, lines: Sequence[str], first_token: int | None = None) -> list[str]:
        """A translation of each line, in order; `first_token` tells the model the language to write.

        Raises DataError when a line has more tokens than the model takes: it would be cut.
        """
        lengths = [len(ids) for ids in self.tokenizer(list(lines), verbose=False)["input_ids"]] if lines else []
        if lengths and max(lengths) > self._limit:
            raise DataError(f"a line of {max(lengths)} tokens; the model takes {self._limit}", Reason.TOO_LARGE)
        order = sorted(range(len(lines)), key=lambda place: lengths[place])  # little padding
        done: dict[int, str] = {}
        for places in batched(order, BATCH):
            found = self._generate([lines[place] for place in places], lengths[places[-1]], first_token)
            done |= dict(zip(places, found, strict=True))
        return [done[place] for place in range(len(lines))]

    def _generate(self, lines: list[str], longest: int, first_token: int | None) -> list[str]:
        import torch

        inputs = self.tokenizer(lines, padding=True, return_tensors="pt").to(self._device)
        extra: dict[str, Any] = {} if first_token is None else {"forced_bos_token_id": first_token}
        with torch.inference_mode():
            output = self._module.generate(
                **inputs,
                num_beams=self._beams,
                do_sample=False,
                max_length=min(self._limit, _GROWTH * longest + _SPARE),
                **extra,
            )
        decoded: list[str] = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return [text.strip() for text in decoded]
