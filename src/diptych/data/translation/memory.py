"""Translates many texts: known translations are read from files, and one bad text never stops the rest."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.errors import DataError
from diptych.core.files import lock
from diptych.core.protocols import SILENT, Progress

from .engine import Translator

BATCH = 500  # texts between two durable writes
PATIENCE = 50  # texts that fail in a row, from the start, before the engine counts as broken


class TranslationMemory:
    """Translations of one engine in one direction, keyed by the content of the text.

    One JSON line each. A batch is on the disk when `add` returns; what a crash leaves of a half-written
    line is cut off by the next `add`. Several processes may share the file.

    Args:
        root: folder of all such files.
        engine: the engine's name and `way` ("en-es"), for people who look at the folder.
        version: the engine's fingerprint; another one is another file.
    """

    def __init__(self, root: Path, engine: str, way: str, version: str) -> None:
        safe = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in f"{engine}-{way}")
        short = fingerprint.of_bytes(version.encode())[:16]
        self.path = root / f"{safe[:80]}-{short}.jsonl"
        self._known: dict[str, str] = {}
        self._whole = 0  # bytes of whole lines read so far
        self._read()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, text: str) -> str | None:
        """The translation of `text`, if there is one."""
        return self._known.get(_key(text))

    def add(self, translations: Mapping[str, str]) -> None:
        """Keep text -> translation, durably."""
        if not translations:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            lock(stream)
            self._read()  # another process may have written meanwhile
            fresh = {_key(text): done for text, done in translations.items() if _key(text) not in self._known}
            stream.truncate(self._whole)
            data = "".join(_line(key, done) for key, done in fresh.items()).encode()
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            self._whole += len(data)
            self._known |= fresh

    def _read(self) -> None:
        """Take in the whole lines that were written since the last reading; a damaged one counts as unknown."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._whole)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._whole += len(line)
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self._known[str(entry["of"])] = str(entry["is"])


def _key(text: str) -> str:
    return fingerprint.combined([text])


def _line(key: str, translation: str) -> str:
    return json.dumps({"of": key, "is": translation}) + "\n"


@dataclass(slots=True)
class DirectionResult:
    """The translations of one direction: text -> translation, and text -> why there is none."""

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
    progress: Progress = SILENT,
) -> DirectionResult:
    """Translate the distinct texts: known ones come from `memory`, new ones are added to it batch by batch.

    An interrupted run loses one batch at most. Raises DataError when the engine fails on each of the
    first PATIENCE texts, and whatever it raises for a direction that is not there.
    """
    distinct = list(dict.fromkeys(texts))
    result = DirectionResult({text: known for text in distinct if (known := memory.get(text)) is not None})
    wanted = [text for text in distinct if text not in result.done]
    # the bar counts texts: it advances by the last text of a batch when the batch is done
    tracked = progress.track(wanted, f"{translator.name} {source}-{target}", total=len(wanted))
    for texts_of_batch in batched(tracked, BATCH):
        start = time.perf_counter()
        answers = dict(_one_by_one_if_needed(texts_of_batch, translator, source, target))
        result.seconds += time.perf_counter() - start
        fresh = {text: answer for text, answer in answers.items() if isinstance(answer, str)}
        memory.add(fresh)
        result.done |= fresh
        result.fresh += len(fresh)
        result.failed |= {text: str(answer) for text, answer in answers.items() if not isinstance(answer, str)}
        if not result.fresh and len(result.failed) >= PATIENCE:
            reason = next(iter(result.failed.values()))
            raise DataError(f"{translator.name} failed on all of the first {len(result.failed)} texts: {reason}")
    return result


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
