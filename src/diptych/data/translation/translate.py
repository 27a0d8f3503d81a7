"""A source with translations and back-translations beside its texts: read, translate, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Origin, Pair, Skipped
from diptych.data.language import guess_language
from diptych.data.readers import Source

from .batches import Passage, translate_all
from .engine import Translator
from .memory import TranslationMemory
from .record import Tally, extended
from .report import TranslationReport
from .writing import write_pairs


@dataclass(frozen=True)
class TranslationTask:
    """What to translate: `sources` are the languages to start from (none: all that the engine can)."""

    targets: tuple[str, ...]
    back: bool = False
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.targets:
            raise ConfigError("no language to translate to; name one or more with --to, such as --to es")


@dataclass
class _Plan:
    """Which texts go which way, and why the others go none."""

    by_way: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    left_alone: Counter[str] = field(default_factory=Counter)


def translate_source(
    source: Source,
    translator: Translator,
    task: TranslationTask,
    out: Path,
    memory_root: Path,
    *,
    progress: Progress = SILENT,
) -> TranslationReport:
    """Write `out`: the pairs of `source` in JSON lines, each text with its translations beside it.

    A translation has the `meaning` of its original, and with `task.back` so has its translation back.
    What the engine translates is kept in `memory_root` batch by batch, so that an interrupted run goes
    on where it was; `out` is replaced as a whole, at the end. A text that cannot be translated is
    listed in the report and does without.

    Raises DataError when the source holds no text that could be translated, ConfigError when the
    engine has no such direction or `out` is the source, and what reading and translating raise.
    """
    if out.resolve() == source.path.resolve():
        raise ConfigError(f"{out} is the source itself; name another file with --out")
    pairs = list(source)
    skipped = list(source.skipped)
    pairs, guessed = _with_languages(pairs)
    plan = _plan(pairs, translator, task)
    if not plan.by_way:
        raise DataError(_nothing(source, translator, task, plan), Reason.EMPTY_TEXT)
    passages = _passages(plan, translator, task.back, memory_root, progress)
    tally = Tally()
    full = [extended(pair, task.targets, task.back, passages, translator.name, tally) for pair in pairs]
    written = write_pairs(full, out)
    return TranslationReport(
        source=source.name,
        engine=translator.name,
        out=out,
        pairs=written,
        originals=sum(text.origin is Origin.HUMAN for pair in pairs for text in pair.texts),
        ways=tally.ways(),
        not_translated=dict(plan.left_alone.most_common()),
        language_guessed=guessed,
        remembered=sum(len(passage.done) - passage.fresh for passage in passages.values()),
        fresh=sum(passage.fresh for passage in passages.values()),
        seconds=sum(passage.seconds for passage in passages.values()),
        skipped=(*skipped, *tally.skipped, *_too_few(written, pairs)),
    )


def _passages(
    plan: _Plan, translator: Translator, back: bool, memory_root: Path, progress: Progress
) -> dict[tuple[str, str], Passage]:
    """Way -> what it gave: first there, then, with `back`, what came of it back again."""
    wanted = {way: list(texts) for way, texts in plan.by_way.items()}

    def passage(way: tuple[str, str]) -> Passage:
        memory = TranslationMemory(memory_root, translator.name, "-".join(way), translator.fingerprint(*way))
        return translate_all(wanted[way], translator, memory, *way, progress=progress)

    passages = {way: passage(way) for way in plan.by_way}
    if not back:
        return passages
    for start, target in plan.by_way:
        wanted.setdefault((target, start), []).extend(passages[start, target].done.values())
    for start, target in plan.by_way:  # a way may be both: Spanish texts to English, English ones back
        before = passages.get((target, start))
        passages[target, start] = found = passage((target, start))
        if before is not None:
            found.fresh += before.fresh
            found.seconds += before.seconds
    return passages


def _too_few(written: int, pairs: Sequence[Pair]) -> list[Skipped]:
    return [] if written == len(pairs) else [Skipped("images", Reason.NO_IMAGE, f"{len(pairs) - written} not written")]


def _with_languages(pairs: Sequence[Pair]) -> tuple[list[Pair], str | None]:
    """The pairs, texts without a language taken for the language that most of them look like."""
    nameless = [text.value for pair in pairs for text in pair.texts if text.lang is None]
    if not nameless:
        return list(pairs), None
    guesses = Counter(guess for text in nameless if (guess := guess_language(text)) is not None)
    if not guesses:
        raise DataError(
            "the texts' language is not known and cannot be guessed; name it with --lang", Reason.EMPTY_TEXT
        )
    lang = guesses.most_common(1)[0][0]
    return [
        replace(pair, texts=tuple(text if text.lang else replace(text, lang=lang) for text in pair.texts))
        for pair in pairs
    ], lang


def _plan(pairs: Sequence[Pair], translator: Translator, task: TranslationTask) -> _Plan:
    plan = _Plan()
    ways: dict[tuple[str, str], str] = {}  # way -> why it cannot be taken
    for pair in pairs:
        for text in pair.texts:
            if text.origin is not Origin.HUMAN:
                plan.left_alone["not written by a person"] += 1
                continue
            start = text.lang or ""
            if task.sources and start not in task.sources:
                plan.left_alone[f"{start} is not among --from"] += 1
                continue
            for target in task.targets:
                if target == start:
                    continue
                if (start, target) not in ways:
                    ways[start, target] = _obstacle(translator, start, target, task.back)
                if why := ways[start, target]:
                    plan.left_alone[why] += 1
                else:
                    plan.by_way.setdefault((start, target), []).append(text.value)
    return plan


def _obstacle(translator: Translator, start: str, target: str, back: bool) -> str:
    for one, other in ((start, target), (target, start))[: 1 + back]:
        if not translator.supports(one, other):
            return f"{translator.name} has no {one}-{other}"
    return ""


def _nothing(source: Source, translator: Translator, task: TranslationTask, plan: _Plan) -> str:
    why = "; ".join(f"{count} texts: {reason}" for reason, count in plan.left_alone.most_common(5)) or "no texts"
    return (
        f"{source.name} has no text that {translator.name} could translate to {', '.join(task.targets)} ({why}); "
        "install the language pair, or choose another --engine or --to"
    )
