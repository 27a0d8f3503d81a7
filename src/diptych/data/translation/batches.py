"""Many texts through an engine: what is known is not asked again, and one bad text never stops the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress

from .engine import Translator
from .memory import TranslationMemory

BATCH = 500  # texts between two durable writes
PATIENCE = 50  # texts that fail one after the other, from the start, before the engine is given up


@dataclass(slots=True)
class Passage:
    """What one direction gave: text -> translation, and text -> why there is none."""

    done: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    fresh: int = 0  # translated now, not remembered
    seconds: float = 0.0  # that the engine took


def translate_all(
    texts: Iterable[str],
    translator: Translator,
    memory: TranslationMemory,
    source: str,
    target: str,
    *,
    batch: int = BATCH,
    progress: Progress = SILENT,
) -> Passage:
    """Translate the distinct texts, remembered ones from `memory`, new ones in batches that it keeps.

    An interrupted run loses one batch at most. Raises DataError when the engine fails on each of the
    first PATIENCE texts, and whatever it raises for a direction that is not there.
    """
    passage = Passage()
    wanted: list[str] = []
    for text in dict.fromkeys(texts):
        known = memory.get(text)
        if known is None:
            wanted.append(text)
        else:
            passage.done[text] = known
    for texts_of_batch in _batches(wanted, batch, f"{translator.name} {source}-{target}", progress):
        start = time.perf_counter()
        answers = dict(_one_by_one_if_needed(texts_of_batch, translator, source, target))
        passage.seconds += time.perf_counter() - start
        fresh = {text: answer for text, answer in answers.items() if isinstance(answer, str)}
        memory.add(fresh)
        passage.done |= fresh
        passage.fresh += len(fresh)
        passage.failed |= {text: str(answer) for text, answer in answers.items() if not isinstance(answer, str)}
        if not passage.fresh and len(passage.failed) >= PATIENCE:
            reason = next(iter(passage.failed.values()))
            raise DataError(f"{translator.name} failed on all of the first {len(passage.failed)} texts: {reason}")
    return passage


def _batches(texts: Sequence[str], size: int, label: str, progress: Progress) -> Iterator[list[str]]:
    """The batches, with a bar that counts texts: the last text of a batch advances when the batch is done."""
    waiting: list[str] = []
    for text in progress.track(texts, label, total=len(texts)):
        waiting.append(text)
        if len(waiting) == size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _one_by_one_if_needed(
    texts: Sequence[str], translator: Translator, source: str, target: str
) -> Iterator[tuple[str, str | DataError]]:
    """(text, translation or error): a batch that fails is halved until the texts at fault are alone."""
    try:
        translations: Sequence[str | DataError] = translator.translate(texts, source, target)
        if len(translations) != len(texts):
            raise DataError(f"{translator.name} gave {len(translations)} translations for {len(texts)} texts")
    except DataError as error:
        if len(texts) > 1:
            middle = len(texts) // 2
            yield from _one_by_one_if_needed(texts[:middle], translator, source, target)
            yield from _one_by_one_if_needed(texts[middle:], translator, source, target)
            return
        translations = [error]
    for text, answer in zip(texts, translations, strict=True):
        empty = isinstance(answer, str) and not answer.strip()
        yield text, DataError("the translation is empty") if empty else answer
