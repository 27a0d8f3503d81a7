"""The model card that travels with a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CUTS = (1, 5, 10)


@dataclass(frozen=True)
class CardText:
    """What only a person can say about a model."""

    summary: str = ""
    data: str = ""  # what it was trained on, and under which terms
    licence: str = ""  # SPDX name of the weights' licence
    limits: str = ""  # what it is not good for


def write(name: str, text: CardText, record: Mapping[str, Any], figures: str, steps: Sequence[str]) -> str:
    """The card as Markdown: the person's words, then the measured facts of the training record.

    Args:
        name: the model's.
        text: the person's words.
        record: of the run; its "data" counts the records.
        figures: what was measured on the held-out records.
        steps: how the model was made, a line each.
    """
    data = record["data"]
    trained = (
        f"records: {data['train']} for training (fingerprint `{data['train_fingerprint'][:16]}`), "
        f"{data['val']} for validation"
    )
    made = [*steps, trained, "the full config is in `config.json`"]
    parts = [
        f"# {name}",
        text.summary,
        "## Data\n\n" + (text.data or "Not stated by whoever trained it."),
        "## Figures\n\n" + figures,
        "## How it was made\n\n" + "\n".join(f"- {step}" for step in made),
        "## Limits\n\n" + text.limits if text.limits else "",
        "## Licence\n\n" + text.licence if text.licence else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def recall_table(scores: Mapping[str, float], labels: Mapping[str, str]) -> str:
    """R@1, R@5 and R@10 in percent as a Markdown table, a row for each label whose scores are there."""
    rows = [
        f"| {label} | " + " | ".join(f"{scores[f'{key} R@{k}']:.1f}" for k in CUTS) + " |"
        for key, label in labels.items()
        if f"{key} R@1" in scores
    ]
    return "\n".join(["| | R@1 | R@5 | R@10 |", "|---|---|---|---|", *rows])
