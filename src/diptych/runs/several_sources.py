"""What a run over several sources says of each: its share of an epoch, its scores, how much it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.notes import Notes
from diptych.data.features import CaptionedImages
from diptych.training.batch_order import SourceShares

UNMEASURED = "unmeasured_source"  # a kind of note
P = TypeVar("P", bound=CaptionedImages)


@dataclass(frozen=True)
class MixedSource:
    """One of several sources: what it is called, and its share of an epoch, if it is stated."""

    name: str
    weight: float = 0.0


def shares_of(sources: Sequence[MixedSource], training: CaptionedImages) -> SourceShares | None:
    """The share of each source in an epoch; None where every record is shown once."""
    weights = [source.weight for source in sources]
    return SourceShares(training.text_source, weights) if any(weights) else None


def check_validation(sources: Sequence[MixedSource], validation: CaptionedImages, chosen_on: str, notes: Notes) -> None:
    """Note sources that have no validation texts of their own. Raises ConfigError where `chosen_on` is one of them."""
    for number, source in enumerate(sources):
        if not (validation.text_source == number).any():
            if source.name == chosen_on:
                raise ConfigError(
                    f"data.chosen_on is {chosen_on!r}, which has no validation texts; name another source"
                )
            notes.add(
                UNMEASURED, "sources without validation texts that count, not measured by themselves", source.name
            )


def scores_of_each(
    sources: Sequence[MixedSource], validation: P, chosen_on: str, measure: Callable[[P], dict[str, float]]
) -> dict[str, float]:
    """What `measure` finds on the validation records: of several sources for each, under its name, too.

    The plain names are then those of the source `chosen_on`, or without one the mean of all sources.
    """
    if not sources:
        return measure(validation)
    found = {
        source.name: measure(validation.of_source(number))
        for number, source in enumerate(sources)
        if (validation.text_source == number).any()
    }
    decides = [found[chosen_on]] if chosen_on else list(found.values())
    plain = {name: round(sum(one[name] for one in decides) / len(decides), 2) for name in decides[0]}
    return plain | {f"{source} {name}": value for source, one in found.items() for name, value in one.items()}


def described(
    sources: Sequence[MixedSource], training: CaptionedImages, validation: CaptionedImages
) -> list[dict[str, Any]]:
    """The name and weight of each source, and how many records and texts of it there are. JSON-ready."""
    rows = []
    for number, source in enumerate(sources):
        counted: dict[str, Any] = {"name": source.name, "weight": source.weight}
        for split, pairs in (("train", training), ("val", validation)):
            texts = pairs.text_source == number
            counted |= {split: len(np.unique(pairs.text_owner[texts])), f"{split}_texts": int(texts.sum())}
        rows.append(counted)
    return rows
