"""`library.json`: what a library is, and which model made its vectors."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diptych.core.errors import LibraryError
from diptych.core.files import write_json

from .encoder import Encoder
from .names import escape

FILE = "library.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Card:
    """Identity of a library. `model` is the name or folder the model was loaded by."""

    id: str
    model: str
    fingerprint: str
    dim: int
    created: str  # ISO 8601, UTC
    format: int = FORMAT

    @classmethod
    def for_model(cls, encoder: Encoder, loaded_by: str | None = None) -> Card:
        """The card of a new library of this model."""
        return cls(
            id=uuid.uuid4().hex,
            model=loaded_by or encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def check(self, encoder: Encoder, folder: Path) -> None:
        """Raise LibraryError unless `encoder` is the model that made the library."""
        if encoder.fingerprint == self.fingerprint and encoder.dim == self.dim:
            return
        raise LibraryError(
            f"the library {escape(str(folder))} was made by model {self.model!r} "
            f"(fingerprint {self.fingerprint}, {self.dim} dimensions), but the model here is "
            f"{encoder.name!r} (fingerprint {encoder.fingerprint}, {encoder.dim} dimensions); "
            f"vectors of two models cannot be compared: use the first model, or index into a new --library folder"
        )


def write(card: Card, folder: Path) -> None:
    """Write the card, atomically."""
    write_json(folder / FILE, asdict(card))


def exists(folder: Path) -> bool:
    """Whether a folder says it is a library (it may still be damaged)."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Card:
    """The card of a library folder. Raises LibraryError when there is none or it cannot be used."""
    shown = escape(str(folder))
    if not folder.exists():
        raise LibraryError(
            f"no library at {shown}: the folder does not exist; make one with: diptych index PICTURES --library {shown}"
        )
    if not exists(folder):
        raise LibraryError(
            f"{shown} is not a library (it has no {FILE}); make one with: diptych index PICTURES --library {shown}"
        )
    try:
        value: Any = json.loads((folder / FILE).read_bytes())
        card = Card(**value)
    except (OSError, ValueError, TypeError) as error:
        raise LibraryError(
            f"{shown}/{FILE} is damaged ({error}); restore it from a backup, or delete the folder and index again"
        ) from error
    if card.format != FORMAT:
        raise LibraryError(
            f"{shown} has library format {card.format}, this diptych reads {FORMAT}; "
            f"use the diptych version that made it, or index again"
        )
    return card
