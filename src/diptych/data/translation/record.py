"""One record with its translations: which texts are added, and how they stay beside their originals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from diptych.core.errors import Reason
from diptych.core.types import Origin, Pair, Skipped, Text
from diptych.data.readers.meanings import next_meaning

from .batches import Passage
from .report import WayReport

Passages = Mapping[tuple[str, str], Passage]


@dataclass
class Tally:
    """What became of the translations, by way."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def note(self, way: str, what: str) -> None:
        """Count one text."""
        self.counts.setdefault(way, Counter())[what] += 1

    def ways(self) -> tuple[WayReport, ...]:
        """The counts, as the report has them."""
        return tuple(
            WayReport(way, *(counts[what] for what in ("written", "unchanged", "repeated", "failed")))
            for way, counts in self.counts.items()
        )


@dataclass(frozen=True)
class _Candidate:
    way: str
    lang: str
    origin: Origin
    value: str | None
    why: str = ""


def extended(pair: Pair, targets: tuple[str, ...], back: bool, passages: Passages, engine: str, tally: Tally) -> Pair:
    """The pair, each text followed by its translations and their translations back.

    A translation is left out where it says the same as its original, or as another text of that
    language and meaning, but for case, blanks and the full stop at the end; and where a person wrote
    a text of that language and meaning.
    """
    free = next_meaning(pair.texts)
    texts: list[Text] = []
    for text in pair.texts:
        candidates = list(_candidates(text, targets, back, passages)) if text.origin is Origin.HUMAN else []
        if candidates and text.meaning is None:
            text, free = replace(text, meaning=free), free + 1
        texts.append(text)
        alike = [other for other in pair.texts if other is not text and _same_meaning(other, text)]
        said = {(other.lang, _gist(other.value)) for other in alike}
        by_people = {other.lang for other in alike if other.origin is Origin.HUMAN}
        for candidate in candidates:
            what = _verdict(candidate, text, said, by_people)
            tally.note(candidate.way, what)
            if what == "failed":
                tally.skipped.append(Skipped(pair.id, Reason.BAD_ROW, f"{candidate.way}: {candidate.why}"))
            if what == "written" and candidate.value is not None:
                said.add((candidate.lang, _gist(candidate.value)))
                way = f"{engine} {candidate.way}"
                texts.append(Text(candidate.value, candidate.lang, text.field, candidate.origin, text.meaning, way))
    return replace(pair, texts=tuple(texts))


def _candidates(text: Text, targets: tuple[str, ...], back: bool, passages: Passages) -> Iterator[_Candidate]:
    lang = text.lang or ""
    for target in targets:
        there = passages.get((lang, target))
        if there is None or (text.value not in there.done and text.value not in there.failed):
            continue
        forward = there.done.get(text.value)
        why = there.failed.get(text.value, "")
        yield _Candidate(f"{lang}-{target}", target, Origin.TRANSLATED, forward, why)
        if back and forward is not None:
            home = passages[target, lang]
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
    """What two texts must share to say the same in the same words."""
    return re.sub(r"\s+", " ", value).strip().rstrip(".").rstrip().casefold()
