"""How good a blend of two models is on each of several sources, by the share of the second model."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError
from diptych.core.notes import Note
from diptych.core.protocols import SILENT, Progress
from diptych.data.readers import SourceOptions
from diptych.evaluation import Report
from diptych.models import DualEncoder, load
from diptych.models.blend import blend, check_share, require_blendable

from .measuring import open_untrained
from .reading import ANY_SOURCE, AnySource
from .recalls import Recalls, joined, measure_recalls, named_apart


@dataclass(frozen=True)
class BlendCurve:
    """Recall of the blends of two models, on each source."""

    before: str
    after: str
    shares: tuple[float, ...]
    sources: tuple[Recalls, ...]

    @property
    def notes(self) -> tuple[Note, ...]:
        """On the records of every source."""
        return tuple(note for recalls in self.sources for note in recalls.named_notes())

    def table(self) -> str:
        """A table for each source, a row for each share, as Markdown."""
        head = f"(1 - share) of {self.before} + share of {self.after}"
        parts = [
            f"## {recalls.source}: {recalls.records:,} records\n\n{recalls.table('share')}" for recalls in self.sources
        ]
        return "\n\n".join([head, *parts]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "before": self.before,
            "after": self.after,
            "shares": list(self.shares),
            "sources": [recalls.to_json() for recalls in self.sources],
        }


def blend_curve(
    before: DualEncoder | str | Path,
    after: DualEncoder | str | Path,
    shares: Sequence[float],
    sources: Sequence[AnySource],
    *,
    options: SourceOptions = ANY_SOURCE,
    device: str = "auto",
    progress: Progress = SILENT,
) -> BlendCurve:
    """Measure the blends of two models at each share on each source; no model is kept.

    Args:
        before, after: two models of one architecture, such as before and after fine-tuning.
        shares: of `after`, each from 0 to 1.
        sources: what to measure on; without a split, the records that neither model was trained on.
        options: how to read sources that are paths.
        device: that the blends run on.
        progress: told about each blend.

    Raises ModelError for models that cannot be blended, ConfigError for no share or source.
    """
    if not shares or not sources:
        raise ConfigError(f"found {len(shares)} shares and {len(sources)} sources; expected one of each at least")
    for share in shares:
        check_share(share)
    one, other = (each if isinstance(each, DualEncoder) else load(each) for each in (before, after))
    require_blendable(one, other)
    opened = [open_untrained([one, other], source, options=options, progress=progress) for source in sources]
    reports: dict[int, dict[str, Report]] = defaultdict(dict)
    with tempfile.TemporaryDirectory(prefix="diptych-blend-") as folder:
        for share in shares:
            progress.say(f"blend with a share of {share:g}")
            blend(one, other, share, Path(folder) / "model")
            model = load(Path(folder) / "model", device=device)
            for place, source in enumerate(opened):
                reports[place][f"{share:g}"] = measure_recalls(model, source, progress=progress)
    found = named_apart([joined(reports[place]) for place in range(len(opened))])
    return BlendCurve(one.name, other.name, tuple(shares), tuple(found))
