"""NLLB-200 (arXiv 2207.04672): one model for two hundred languages, by transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.registry import register
from diptych.data.language import THREE_LETTERS

from .models import LineModel, NeuralTranslator
from .seq2seq import Seq2Seq

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
