"""The measures of one generator on one source: numbers with their intervals, references and rules."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from diptych.core.errors import DataError
from diptych.core.markdown import table
from diptych.evaluation.direction import Estimate

FORMAT = 1


@dataclass(frozen=True)
class Measure:
    """One number. `real` is what real images get by the same rule: the best, or least, to be expected."""

    key: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    real: float | None = None
    chance: float | None = None
    percent: bool = False  # printed x 100
    lower_is_better: bool = False
    rule: str = ""  # what the number is, in one sentence

    @classmethod
    def of(cls, key: str, name: str, estimate: Estimate, **others: Any) -> Measure:
        """From an estimate and its interval."""
        bounds = (estimate.interval.low, estimate.interval.high) if estimate.interval else (None, None)
        return cls(key, name, estimate.value, *bounds, **others)

    def printed(self, value: float | None) -> str:
        """A value as a person reads it."""
        if value is None or not math.isfinite(value):
            return ""
        if self.percent:
            return f"{100 * value:.1f}"
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"

    @property
    def range(self) -> str:
        """The interval as a person reads it."""
        return f"{self.printed(self.low)} to {self.printed(self.high)}" if self.low is not None else ""

    @property
    def cells(self) -> list[str]:
        """What tables print of it beside its name, under `GeneratorReport.HEADS`."""
        return [self.printed(self.value), self.range, self.printed(self.real), self.printed(self.chance)]


@dataclass(frozen=True)
class GeneratorReport:
    """Everything measured, and on what."""

    HEADS: ClassVar = ("generated", "95%", "real images", "chance")

    generator: str
    source: str
    split: str
    texts: int
    noises: int  # images of each text
    size: int  # pixels
    lang: str
    seed: int
    extractor: str
    judge: str
    measures: tuple[Measure, ...]
    # SOA: class -> shares "found", "real", "elsewhere" (generated, where its text does not name it), number of "texts"
    by_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def measure(self, key: str) -> Measure:
        """The measure of this key. Raises DataError when it was not taken."""
        for one in self.measures:
            if one.key == key:
                return one
        raise DataError(f"no measure {key!r}; there are {', '.join(one.key for one in self.measures)}")

    @property
    def drawn(self) -> str:
        """What was made of each text, in words."""
        return f"{self.noises} image{'s' if self.noises > 1 else ''} each of {self.size} px"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": FORMAT, "kind": "generated", **asdict(self)}

    def to_text(self) -> str:
        """A Markdown table for a person."""
        heads, rows = ["measure", *self.HEADS], []
        for one in self.measures:
            unit = " %" if one.percent else ""
            better = " ↓" if one.lower_is_better else ""
            rows.append([f"{one.name}{unit}{better}", *one.cells])
        lines = [
            f"{self.generator} on {self.source}{f', {self.split}' if self.split else ''}: {self.texts:,} texts "
            f"({self.lang or 'any language'}), {self.drawn}, seed {self.seed}",
            f"features: {self.extractor}; judge: {self.judge or 'none'}",
            "",
            table(heads, rows),
        ]
        lines += ["", *(f"- {remark}" for remark in self.remarks)] if self.remarks else []
        return "\n".join(lines)


def read_generator_report(path: Path) -> GeneratorReport:
    """Measures that were written as JSON. Raises DataError for anything else."""
    try:
        content = json.loads(path.read_bytes())
        if content.pop("kind") != "generated" or content.pop("format") != FORMAT:
            raise ValueError("another kind of report, or of another version")
        measures: Sequence[Mapping[str, Any]] = content.pop("measures")
        content["remarks"] = tuple(content.get("remarks", ()))
        content.pop("notes", None)  # on how the source was read, in what the command prints
        return GeneratorReport(**content, measures=tuple(Measure(**one) for one in measures))
    except OSError as error:
        raise DataError(f"cannot open {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} holds no measures of generated images: {error}; write it with diptych generator eval --out"
        ) from error
