"""Whether two things are related: `relate` answers yes or no with a probability; `calibrations` fits what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diptych.core.checks import of_type
from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, CrossEncoder, Progress
from diptych.core.types import Skipped
from diptych.data.pair_list import KINDS, Asked, Kind, asked
from diptych.evaluation.pair_calibration import check_share, measured
from diptych.inspection.relating import (
    Calibrations,
    CrossScorer,
    DualScorer,
    Judge,
    PairScorer,
    Relation,
    TextCrossScorer,
    judged,
    read_calibrations,
)
from diptych.models import DualEncoder
from diptych.models.text_cross_encoder import TextCrossEncoder, is_text_cross_encoder, load_text_cross_encoder

from .measuring import as_encoder

Calibrated = Calibrations | str | Path
Reranking = CrossEncoder | TextCrossEncoder | str | Path


@dataclass(frozen=True)
class Relations:
    """Answers, in the order of the pairs, and what they rest on. `skipped` names the pairs that could not be read."""

    pairs: tuple[Relation, ...]
    model: str
    measures: tuple[str, ...]
    judges: Mapping[Kind, Judge]
    skipped: tuple[Skipped, ...] = ()
    notes: Notes = field(default_factory=Notes)

    def __iter__(self) -> Iterator[Relation]:
        """The answers."""
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> Relation:
        return self.pairs[place]

    @property
    def measured(self) -> dict[str, float | int | None] | None:
        """How right the answers are about the pairs that have a label; None where none has."""
        known = [one for one in self.pairs if one.label is not None and one.probability is not None]
        if not known:
            return None
        return measured(
            [one.probability or 0.0 for one in known],
            [bool(one.related) for one in known],
            [bool(one.label) for one in known],
        )

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of pairs there are."""
        return [kind for kind in KINDS if any(one.kind == kind for one in self.pairs)]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        found: dict[str, Any] = {"model": self.model, "pairs": [one.to_json(self.measures) for one in self.pairs]}
        found["judged_by"] = {kind: self.judges[kind].to_json() for kind in self.kinds if kind in self.judges}
        found["skipped"] = [one.to_json() for one in self.skipped]
        return found if self.measured is None else {**found, "measured": self.measured}


def relate(
    left: Any,
    right: Any,
    *,
    model: DualEncoder | str | Path = "base",
    reranker: Reranking | None = None,
    calibration: Calibrated | None = None,
    kind: str | None = None,
    prior: float | None = None,
    threshold: float | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Relations:
    """Whether two things are related: an image and a text, two texts or two images.

        (found,) = diptych.relate("dog.jpg", "a dog on a beach")
        found.related, found.probability, found.scores

    Args:
        left: one thing or a list. A str is an image where it names a file or ends like an image's name, else a text;
            paths, PIL images, encoded bytes, arrays and image references are images.
        right: one thing, or a list as long as the first.
        model: a dual encoder, its name, folder or address.
        reranker: a cross-encoder, its folder or address, to judge an image and a text by both models together; or a
            text cross-encoder, to judge two texts, of which `left` is the query.
        calibration: what `diptych relate --calibrate` or `diptych data filter` wrote for this model, or its file. By
            default the one that the model comes with (or that `diptych rerank fit` left for both); else the model's own
            probability, of a SigLIP or a matching head.
        kind: "image-text", "text-text" or "image-image", where a str should not tell it.
        prior: share of related pairs among those that are asked about; by default the calibration's.
        threshold: probability from which on a pair is related; by default the calibration's.
        device: where a model that is given by name or folder runs.
        progress: told about embedding.

    Where there is no calibration, `related` and `probability` are None and only the similarity is told. Of lists,
    pairs whose image cannot be read are named in `skipped`. Raises DataError where no pair can be read, ModelError for
    the calibration of another model.
    """
    is_list = isinstance(left, list | tuple), isinstance(right, list | tuple)
    if is_list[0] != is_list[1] or (is_list[0] and len(left) != len(right)):
        raise ConfigError("relate takes two things, or two lists of the same length")
    lists = (left, right) if is_list[0] else ([left], [right])
    pairs = [asked(one, other, kind) for one, other in zip(*lists, strict=True)]
    scorer = pair_scorer(model, reranker, device=device)
    return judge_pairs(
        scorer, pairs, calibration=calibration, prior=prior, threshold=threshold, one=not is_list[0], progress=progress
    )


def pair_scorer(
    model: DualEncoder | str | Path, reranker: Reranking | None = None, *, device: str = "auto"
) -> DualScorer | CrossScorer | TextCrossScorer:
    """What gives pairs their scores: a dual encoder, its name, folder (of its run too) or address.

    With a `reranker` (a cross-encoder, its folder or address) an image and a text are scored by both; with a text
    cross-encoder, two texts.
    """
    encoder = as_encoder(model, device)
    if reranker is None:
        return DualScorer(encoder)
    if isinstance(reranker, str | Path) and is_text_cross_encoder(reranker):
        reranker = load_text_cross_encoder(reranker, device=device)
    if isinstance(reranker, TextCrossEncoder):
        return TextCrossScorer(encoder, reranker)
    from diptych.models.cross_encoder import load_cross_encoder

    cross_encoder = load_cross_encoder(reranker, device=device) if isinstance(reranker, str | Path) else reranker
    return CrossScorer(encoder, of_type(cross_encoder, CrossEncoder, "a cross-encoder, or its folder, as reranker"))


def judge_pairs(
    scorer: PairScorer,
    pairs: Sequence[Asked],
    *,
    calibration: Calibrated | None = None,
    prior: float | None = None,
    threshold: float | None = None,
    one: bool = False,
    skipped: list[Skipped] | None = None,
    notes: Notes | None = None,
    progress: Progress = SILENT,
) -> Relations:
    """As `relate`, with a scorer. With `one` a pair that cannot be read raises DataError instead of being skipped."""
    judges = judges_of(scorer, calibration, prior=prior, threshold=threshold)
    kinds = [kind for kind in KINDS if any(pair.kind == kind for pair in pairs)]
    skipped, notes = [] if skipped is None else skipped, Notes() if notes is None else notes
    for kind in kinds:
        if kind in judges:
            judges[kind].check()
            continue
        if prior is not None or threshold is not None:
            raise ConfigError(f"a prior or a threshold needs a probability; {scorer.missing(kind)}")
        count = sum(pair.kind == kind for pair in pairs)
        notes.add("not_calibrated", f"{scorer.missing(kind)}; {kind} pairs without a yes or no", count=count)
    notes.extend(scorer.cut_texts([str(side) for pair in pairs for side, is_image in pair.sides if not is_image]))
    found = judged(scorer, pairs, judges, None if one else skipped, progress=progress)
    if pairs and not found:
        raise DataError(f"none of the {len(pairs):,} pairs can be read; {skipped[0].detail}", skipped[0].reason)
    return Relations(found, scorer.name, scorer.measures, judges, tuple(skipped), notes)


def judges_of(
    scorer: PairScorer, calibration: Calibrated | None, *, prior: float | None = None, threshold: float | None = None
) -> dict[Kind, Judge]:
    """What judges each kind of pair: the calibration given, else what the model comes with, else its own probability.

    Raises ConfigError for a prior or threshold outside (0, 1), and as `read_calibrations`.
    """
    for what, value in (("prior", prior), ("threshold", threshold)):
        if value is not None:
            check_share(what, value)
    if calibration is None:
        kept, place = scorer.comes_with(), f"comes with {scorer.name}"
    elif isinstance(calibration, Calibrations):
        kept, place = calibration, ""
    else:
        path = Path(calibration).expanduser()
        kept, place = read_calibrations(path, scorer.fingerprint, scorer.name), str(path)
    found = {} if scorer.own is None else {scorer.own_kind: replace(scorer.own, prior=prior, threshold=threshold)}
    if kept is not None:
        for kind, one in kept.kinds.items():
            found[kind] = Judge(kept.origin(kind, place), one, prior=prior, threshold=threshold)
    return found
