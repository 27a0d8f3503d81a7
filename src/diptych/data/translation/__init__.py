"""Translations and back-translations of a source's texts, for training with several languages.

`translate_source` reads a source and writes a copy with the added texts. `Translator` is what an engine offers
(Apertium here, neural ones in `diptych.encoders.translation`); `TranslationMemory` keeps what was translated.
"""

from __future__ import annotations

from .engine import FakeTranslator, Translator
from .memory import TranslationMemory
from .report import TranslationReport
from .translate import TranslationTask, translate_source

__all__ = [
    "FakeTranslator",
    "TranslationMemory",
    "TranslationReport",
    "TranslationTask",
    "Translator",
    "translate_source",
]
