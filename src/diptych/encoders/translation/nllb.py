"""NLLB-200 (arXiv 2207.04672): one model for two hundred languages, by transformers."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.core.errors import ModelError
from diptych.data.language import THREE_LETTERS
from diptych.data.translation.engine import by_lines, require

from .models import ModelFolders
from .seq2seq import BEAMS, Seq2Seq

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


class NllbTranslator:
    """Translates by a model of the NLLB-200 family in a folder, or in the Hugging Face cache.

    Args as `MarianTranslator`; `model` is one folder or hub name for all directions. Note the licence
    of the published weights (CC BY-NC 4.0): not for commercial use.
    """

    name = "nllb"

    def __init__(
        self, model: str, *, device: str = "auto", beams: int = BEAMS, allow_download: bool | None = None
    ) -> None:
        self._folders = ModelFolders(model, allow_download=allow_download)
        self._device = device
        self._beams = beams
        self._loaded: Seq2Seq | None = None

    def supports(self, source: str, target: str) -> bool:
        """Any two languages of the table CODES."""
        return source != target and source in CODES and target in CODES

    def fingerprint(self, source: str, target: str) -> str:
        """Hash of the model's files and of how it is searched."""
        self._require(source, target)
        return f"{self._folders.fingerprint(source, target)}-beams{self._beams}"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """A translation of each text. Raises as `Translator.translate`."""
        self._require(source, target)
        model = self._model(source, target)
        tokenizer = model.tokenizer
        tokens = [tokenizer.convert_tokens_to_ids(CODES[lang]) for lang in (source, target)]
        for lang, token in zip((source, target), tokens, strict=True):
            if token is None or token == tokenizer.unk_token_id:
                raise ModelError(f"{self._folders.pattern} has no token {CODES[lang]}; expected a model of NLLB-200")
        tokenizer.src_lang = CODES[source]
        return by_lines(texts, lambda lines: model.translate(lines, first_token=tokens[1]))

    def _require(self, source: str, target: str) -> None:
        require(self, source, target, ", ".join(sorted(CODES)))

    def _model(self, source: str, target: str) -> Seq2Seq:
        if self._loaded is None:
            self._loaded = Seq2Seq(self._folders.folder(source, target), self._device, beams=self._beams)
        return self._loaded
