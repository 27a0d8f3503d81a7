"""The model card that travels with a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CUTS = (1, 5, 10)


@dataclass(frozen=True)
class CardText:
    """What only a person can say about a model."""

    summary: str = ""  # what the model does, in a sentence or two
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
    made = [*steps, trained, *_sources(data), "the full config is in `config.json`"]
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


def _sources(data: Mapping[str, Any]) -> list[str]:
    """A line for each source, where a model was trained on several together."""
    lines = []
    for source in data.get("sources", ()):
        share = f", {100 * source['weight']:g} % of each epoch" if source["weight"] else ""
        lines.append(
            f"source {source['name']}: {source['train']:,} records with {source['train_texts']:,} texts for training"
            f"{share}, {source['val']:,} with {source['val_texts']:,} for validation"
        )
    return lines


def recall_tables(record: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """The recall table of a training record; of several sources one for each, under its name."""
    names = [source["name"] for source in record["data"].get("sources", ())]
    scores = record["validation"]
    if not names:
        return recall_table(scores, labels)
    of_each = ({key.removeprefix(f"{name} "): value for key, value in scores.items() if key.startswith(f"{name} ")}
               for name in names)  # fmt: skip
    return "\n\n".join(f"{name}:\n\n{recall_table(own, labels)}" for name, own in zip(names, of_each, strict=True))


def recall_table(scores: Mapping[str, float], labels: Mapping[str, str]) -> str:
    """R@1, R@5 and R@10 in percent as a Markdown table, a row for each label whose scores are there."""
    rows = [
        f"| {label} | " + " | ".join(f"{scores[f'{key} R@{k}']:.1f}" for k in CUTS) + " |"
        for key, label in labels.items()
        if f"{key} R@1" in scores
    ]
    return "\n".join(["| | R@1 | R@5 | R@10 |", "|---|---|---|---|", *rows])
