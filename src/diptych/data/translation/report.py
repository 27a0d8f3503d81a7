"""What a run of `diptych data translate` did, in words and as JSON."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.types import Skipped


@dataclass(frozen=True, slots=True)
class WayReport:
    """One way of texts through the engine. Counts are of texts of the source, repeated ones included."""

    way: str  # "en-es", or "en-es-en" for a back-translation
    written: int = 0
    unchanged: int = 0  # came out as they went in: of no use, not written
    repeated: int = 0  # said again what an earlier text of that language and meaning says: not written
    failed: int = 0  # no translation; why is among the skipped


@dataclass(frozen=True, slots=True)
class TranslationReport:
    """Everything about one run. `seconds` and `sentences_per_second` are of the engine's own work."""

    source: str
    engine: str
    out: Path
    pairs: int
    originals: int  # texts that a person wrote
    ways: tuple[WayReport, ...]
    not_translated: Mapping[str, int]  # why -> texts that no way was tried on
    language_guessed: str | None  # taken for texts whose source says no language
    remembered: int  # distinct texts whose translation was known from an earlier run
    fresh: int  # distinct texts translated in this run
    seconds: float
    skipped: tuple[Skipped, ...] = field(repr=False, default=())

    @property
    def sentences_per_second(self) -> float | None:
        """Texts that the engine translated in a second; None when it had nothing to do."""
        return self.fresh / self.seconds if self.fresh and self.seconds else None

    def to_json(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        skipped = [entry.to_json() for entry in self.skipped]
        rate = self.sentences_per_second
        return {**asdict(self), "out": str(self.out), "sentences_per_second": rate, "skipped": skipped}

    def to_text(self) -> str:
        """About half a dozen lines for people."""
        rate = self.sentences_per_second
        speed = f", {rate:,.0f} a second" if rate else ""
        lines = [
            f"{self.source}: {self.pairs:,} pairs, {self.originals:,} texts by people, through {self.engine}",
            *(f"  {way.way:<12}{_way(way)}" for way in self.ways),
            f"  engine      {self.fresh:,} texts translated{speed}, {self.remembered:,} remembered",
        ]
        if self.language_guessed:
            taken = f"texts without one were taken for {self.language_guessed}; --lang says otherwise"
            lines.append(f"  languages   {taken}")
        lines += [f"  left alone  {count:,} texts: {why}" for why, count in self.not_translated.items()]
        if self.skipped:
            lines.append(f"  skipped     {len(self.skipped):,}, the first: {_skipped(self.skipped[0])}")
        return "\n".join([*lines, f"written: {self.out}"])


@dataclass
class WayCounts:
    """What became of the translations, by way."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    skipped: list[Skipped] = field(default_factory=list)

    def note(self, way: str, what: str) -> None:
        """Count one text."""
        self.counts[way][what] += 1

    def ways(self) -> tuple[WayReport, ...]:
        """The counts, as the report has them."""
        return tuple(WayReport(way, **counts) for way, counts in self.counts.items())


def _way(way: WayReport) -> str:
    counts = {"unchanged": way.unchanged, "repeated": way.repeated, "failed": way.failed}
    aside = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f"{way.written:,} written" + (f"; not written: {', '.join(aside)}" if aside else "")


def _skipped(entry: Skipped) -> str:
    return f"{entry.name}: {entry.reason.value}" + (f": {entry.detail}" if entry.detail else "")
