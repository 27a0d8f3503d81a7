"""Language as regularisation: texts translated, and translated back, beside those that people wrote."""

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
