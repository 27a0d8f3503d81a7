"""The model card that travels with a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CardText:
    """What only a person can say about a model."""

    summary: str = ""
    data: str = ""  # what it was trained on, and under which terms
    licence: str = ""  # SPDX name of the weights' licence
    limits: str = ""  # what it is not good for


_TASKS = {
    "i2t": "image → text",
    "t2i": "text → image",
    "t2t": "text → text of the same record",
    "i2i": "other looks at an image → the image",
}


def write(name: str, text: CardText, record: Mapping[str, Any]) -> str:
    """The card as Markdown: the person's words, then the measured facts of the training record."""
    data, scores, config = record["data"], record["validation"], record["config"]
    made = "trained" if config.get("loss") else "computed"
    parts = [f"# {name}"]
    if text.summary:
        parts.append(text.summary)
    parts.append("## Data\n\n" + (text.data or "Not stated by whoever trained it."))
    parts.append(
        "## Figures\n\n"
        f"On the {data['val']} validation records, all against all"
        f"{' (early stopping looked at the same records)' if config.get('loss') else ''}:\n\n"
        "| | R@1 | R@5 | R@10 |\n|---|---|---|---|\n"
        + "\n".join(
            f"| {label} | " + " | ".join(f"{scores[f'{key} R@{k}']:.1f}" for k in (1, 5, 10)) + " |"
            for key, label in _TASKS.items()
            if f"{key} R@1" in scores
        )
    )
    parts.append(
        "## How it was made\n\n"
        f"- image side: {_parts(config['image'], made)}\n"
        f"- text side: {_parts(config['text'], made)}\n"
        f"- {_aim(config)}; seed {config['seed']}, {config['members']} member(s)\n"
        f"- records: {data['train']} for training (fingerprint `{data['train_fingerprint'][:16]}`), "
        f"{data['val']} for validation\n"
        "- the full config is in `config.json`"
    )
    if text.limits:
        parts.append("## Limits\n\n" + text.limits)
    if text.licence:
        parts.append("## Licence\n\n" + text.licence)
    return "\n\n".join(parts) + "\n"


def _parts(side: Mapping[str, Any], made: str) -> str:
    """A side's parts by name, from the bottom up."""
    network = f" → network `{side['network']['name']}`, trained" if side.get("network") else ""
    return f"tower `{side['tower']['name']}`, frozen{network} → head `{side['head']['name']}`, {made}"


def _aim(config: Mapping[str, Any]) -> str:
    """What it was trained for, or how it was computed."""
    return f"loss: `{config['loss']['name']}`" if config.get("loss") else f"computed by `{config['fit']['name']}`"
