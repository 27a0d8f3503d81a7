"""A copy of a source with translations and back-translations added to its texts: read, translate, write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Origin, Pair, Skipped, Text
from diptych.data.language import guess_language
from diptych.data.readers import Source
from diptych.data.readers.meanings import next_meaning
from diptych.data.write import write_pairs

from .engine import Translator
from .memory import DirectionResult, TranslationMemory, translate_all
from .report import TranslationReport, WayCounts

Directions = Mapping[tuple[str, str], DirectionResult]


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
    """The texts of each direction, and why the others are not translated."""

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
    """Write `out`: the pairs of `source` in JSON lines, each text followed by its translations.

    A translation has the `meaning` of its original, and with `task.back` so has its back-translation.
    Translations are kept in `memory_root` batch by batch, so a second run continues an interrupted one;
    `out` is replaced as a whole, at the end. A text that cannot be translated is listed in the report and
    written without translations.

    Raises DataError when the source holds no text that could be translated, ConfigError when the
    engine has no such direction or `out` is the source, and what reading and translating raise.
    """
    if out.resolve() == source.path.resolve():
        raise ConfigError(f"{out} is the source itself; name another file with --out")
    pairs, guessed = _with_languages(list(source))
    plan = _plan(pairs, translator, task)
    if not plan.by_way:
        raise DataError(_nothing(source, translator, task, plan), Reason.EMPTY_TEXT)
    directions = _translate_directions(plan, translator, task.back, memory_root, progress)
    counts = WayCounts()
    written = write_pairs(out, (_extended(pair, task, directions, translator.name, counts) for pair in pairs))
    lost = len(pairs) - written
    left_out = [Skipped("images", Reason.NO_IMAGE, f"{lost} not written")] if lost else []
    return TranslationReport(
        source=source.name,
        engine=translator.name,
        out=out,
        pairs=written,
        originals=sum(text.origin is Origin.HUMAN for pair in pairs for text in pair.texts),
        ways=counts.ways(),
        not_translated=dict(plan.left_alone.most_common()),
        language_guessed=guessed,
        remembered=sum(len(result.done) - result.fresh for result in directions.values()),
        fresh=sum(result.fresh for result in directions.values()),
        seconds=sum(result.seconds for result in directions.values()),
        skipped=(*source.skipped, *counts.skipped, *left_out),
    )


def _translate_directions(
    plan: _Plan, translator: Translator, back: bool, memory_root: Path, progress: Progress
) -> dict[tuple[str, str], DirectionResult]:
    """Direction -> its translations: of the originals and, with `back`, of their translations back again."""
    wanted = {way: list(texts) for way, texts in plan.by_way.items()}

    def result(way: tuple[str, str]) -> DirectionResult:
        memory = TranslationMemory(memory_root, translator.name, "-".join(way), translator.fingerprint(*way))
        return translate_all(wanted[way], translator, memory, *way, progress=progress)

    directions = {way: result(way) for way in plan.by_way}
    if not back:
        return directions
    for start, target in plan.by_way:
        wanted.setdefault((target, start), []).extend(directions[start, target].done.values())
    # a direction may be both: Spanish originals to English, and English translations back
    for start, target in plan.by_way:
        before = directions.get((target, start))
        directions[target, start] = found = result((target, start))
        if before is not None:
            found.fresh += before.fresh
            found.seconds += before.seconds
    return directions


def _with_languages(pairs: Sequence[Pair]) -> tuple[list[Pair], str | None]:
    """The pairs; texts without a language get the one that most of them seem to be in, which comes second."""
    nameless = [text.value for pair in pairs for text in pair.texts if text.lang is None]
    if not nameless:
        return list(pairs), None
    guesses = Counter(guess for text in nameless if (guess := guess_language(text)) is not None)
    if not guesses:
        message = "the texts' language is not known and cannot be guessed; name it with --lang"
        raise DataError(message, Reason.EMPTY_TEXT)
    lang = guesses.most_common(1)[0][0]
    texts = (tuple(text if text.lang else replace(text, lang=lang) for text in pair.texts) for pair in pairs)
    return [replace(pair, texts=own) for pair, own in zip(pairs, texts, strict=True)], lang


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


@dataclass(frozen=True)
class _Candidate:
    way: str
    lang: str
    origin: Origin
    value: str | None
    why: str = ""


def _extended(pair: Pair, task: TranslationTask, directions: Directions, engine: str, counts: WayCounts) -> Pair:
    """The pair, each text followed by its translations and their translations back.

    A translation is left out when it equals its original, or another text of that language and meaning,
    but for case, blanks and the final full stop; and when a person wrote a text of that language and meaning.
    """
    free = next_meaning(pair.texts)
    texts: list[Text] = []
    for text in pair.texts:
        candidates = list(_candidates(text, task, directions)) if text.origin is Origin.HUMAN else []
        if candidates and text.meaning is None:
            text, free = replace(text, meaning=free), free + 1
        texts.append(text)
        alike = [other for other in pair.texts if other is not text and _same_meaning(other, text)]
        said = {(other.lang, _gist(other.value)) for other in alike}
        by_people = {other.lang for other in alike if other.origin is Origin.HUMAN}
        for candidate in candidates:
            what = _verdict(candidate, text, said, by_people)
            counts.note(candidate.way, what)
            if what == "failed":
                counts.skipped.append(Skipped(pair.id, Reason.BAD_ROW, f"{candidate.way}: {candidate.why}"))
            if what == "written" and candidate.value is not None:
                said.add((candidate.lang, _gist(candidate.value)))
                way = f"{engine} {candidate.way}"
                machine = replace(text, value=candidate.value, lang=candidate.lang, origin=candidate.origin, engine=way)
                texts.append(machine)
    return replace(pair, texts=tuple(texts))


def _candidates(text: Text, task: TranslationTask, directions: Directions) -> Iterator[_Candidate]:
    lang = text.lang or ""
    for target in task.targets:
        there = directions.get((lang, target))
        if there is None or (text.value not in there.done and text.value not in there.failed):
            continue
        forward = there.done.get(text.value)
        why = there.failed.get(text.value, "")
        yield _Candidate(f"{lang}-{target}", target, Origin.TRANSLATED, forward, why)
        if task.back and forward is not None:
            home = directions[target, lang]
            why = home.failed.get(forward, "")
            yield _Candidate(f"{lang}-{target}-{lang}", lang, Origin.BACK_TRANSLATED, home.done.get(forward), why)


def _verdict(
    candidate: _Candidate, original: Text, said: set[tuple[str | None, str]], by_people: set[str | None]
) -> str:
    if candidate.value is None:
        return "failed"
    gist = _gist(candidate.value)
    if gist == _gist(original.value):
        return "unchanged"
    taken = candidate.origin is Origin.TRANSLATED and candidate.lang in by_people
    return "repeated" if taken or (candidate.lang, gist) in said else "written"


def _same_meaning(one: Text, other: Text) -> bool:
    return one.meaning is not None and one.meaning == other.meaning


def _gist(value: str) -> str:
    """A text without its case, blanks and final full stop: equal for texts that differ in nothing else."""
    return re.sub(r"\s+", " ", value).strip().rstrip(".").rstrip().casefold()
