"""`library.json`: what a library is, and which model made its vectors."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.files import write_bytes, write_json
from diptych.core.similarity import is_like_cosine

from .bucket import Bucket, bucket_of, shown
from .encoder import Encoder
from .index_choice import IndexChoice
from .index_choice import from_json as index_from_json

FILE = "library.json"
FORMAT = 1
FORMAT_OF_STORES = 2  # says where the rows are, because they are not where format 1 has them
FORMAT_OF_INDEXES = 3  # says which index searches use
LANCE = "lance"


class OtherModelError(LibraryError):
    """A library whose vectors are of another model than the one at hand: they cannot be compared."""


@dataclass(frozen=True, slots=True)
class Card:
    """Identity of a library. `model` is what its model is loaded by: a name, a folder or a pinned address.

    `store` says where the rows are: "lance" in the folder itself, or the address of a server. `generation`
    counts how often the library was embedded again by another model; each generation has rows of its own until
    older ones are dropped. `index` is what `library tune` chose; None for the usual one.
    """

    id: str
    model: str
    fingerprint: str
    dim: int
    created: str  # ISO 8601, UTC
    format: int = FORMAT
    store: str = LANCE
    generation: int = 0
    index: IndexChoice | None = None

    @property
    def unpinned_model(self) -> str:
        """What its model is loaded by, whatever the revision."""
        return re.sub(r"@[\w.-]+$", "", self.model) if ":" in self.model else self.model

    @classmethod
    def for_model(cls, encoder: Encoder, loaded_by: str | None = None, store: str = LANCE) -> Card:
        """The card of a new library of this model. Raises LibraryError for one that does not compare by the cosine."""
        _require_cosine(encoder)
        return cls(
            id=uuid.uuid4().hex,
            model=loaded_by or encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            store=store,
        )

    def with_model(self, encoder: Encoder, loaded_by: str | None, generation: int) -> Card:
        """The card of the same library, embedded again by another model."""
        _require_cosine(encoder)
        model = loaded_by or encoder.name
        index = None if self.index is None else self.index.for_other_vectors()
        about = replace(self, model=model, fingerprint=encoder.fingerprint, dim=encoder.dim, generation=generation)
        return replace(about, index=index)

    def check(self, encoder: Encoder, folder: Path, named: str) -> None:
        """Raise OtherModelError unless `encoder` is the model that made the library."""
        if encoder.fingerprint == self.fingerprint and encoder.dim == self.dim:
            return
        name = shown(folder)
        if named == self.model:
            raise OtherModelError(
                f"the library {name} was made by an earlier {named!r} (fingerprint {self.fingerprint[:8]}; it is "
                f"{encoder.fingerprint[:8]} now), and vectors of two models cannot be compared; embed its images "
                f"again: diptych library reembed --library {quote(name)} --model {quote(named)}"
            )
        raise OtherModelError(
            f"the library {name} was made by model {self.model!r} (fingerprint {self.fingerprint}, {self.dim} "
            f"dimensions), but the model here is {encoder.name!r} (fingerprint {encoder.fingerprint}, {encoder.dim} "
            "dimensions); vectors of two models cannot be compared: use the first model, or embed the library again "
            f"by the one here: diptych library reembed --library {quote(name)} --model {quote(named)}"
        )


def _require_cosine(encoder: Encoder) -> None:
    compares_by = getattr(encoder, "compares_by", "cosine")
    if not is_like_cosine(compares_by):
        raise LibraryError(
            f"the model {encoder.name!r} was trained to compare by {compares_by}, a library ranks by cosine; "
            'train it with similarity = "cosine", or measure it with `diptych eval`, which ranks by the same'
        )


def write(card: Card, folder: Path) -> None:
    """Write the card, atomically. One that says no more than format 1 can is written as format 1.

    Raises LibraryError on object storage where there is one already, unless that is of the generation before.
    """
    value, bucket = to_json(card), bucket_of(folder)
    if bucket is not None:
        _put(bucket, json.dumps(value, indent=2).encode(), card)
    write_json(folder / FILE, value)


def rewrite(card: Card, folder: Path) -> None:
    """Replace the card, atomically; on object storage too. The caller is the one writer."""
    value, bucket = to_json(card), bucket_of(folder)
    if bucket is not None:
        bucket.put(FILE, json.dumps(value, indent=2).encode())
    write_json(folder / FILE, value)


def to_json(card: Card) -> dict[str, Any]:
    """What the file says, in the oldest format that can."""
    value = asdict(card)
    if card.index is None:
        del value["index"]
    if card.index is not None:
        value["format"] = FORMAT_OF_INDEXES
    elif (card.store, card.generation) == (LANCE, 0):
        del value["store"], value["generation"]
        value["format"] = FORMAT
    else:
        value["format"] = FORMAT_OF_STORES
    return value


def from_json(value: Mapping[str, Any]) -> Card:
    """The card that `to_json` wrote. Raises TypeError or ConfigError for another value."""
    return Card(**{**value, "index": index_from_json(value.get("index"))})


def _put(bucket: Bucket, data: bytes, card: Card) -> None:
    """Make the card's object, or replace the one of the generation before, on the condition that it is still that."""
    if card.generation == 0 or (there := bucket.get_marked(FILE)) is None:
        if bucket.create(FILE, data) is None:
            raise LibraryError(f"{bucket.address} is a library already; open it, or choose another name")
    elif json.loads(there[0]).get("generation", 0) != card.generation - 1 or (
        bucket.replace(FILE, data, there[1].mark) is None
    ):
        raise LibraryError(f"{bucket.address} was embedded again by another process meanwhile; open it again")


def _keep(data: bytes | None, folder: Path) -> None:
    """A copy in the working folder, touched only when it is another: `serve` asks for its time."""
    file = folder / FILE
    if data is not None and not (file.is_file() and file.read_bytes() == data):
        write_bytes(file, data)


def written_at(folder: Path) -> float:
    """When the card was written: seconds since 1970. On object storage by the server's clock, now without a card."""
    bucket = bucket_of(folder)
    if bucket is None:
        return (folder / FILE).stat().st_mtime
    found = bucket.head(FILE)
    return time.time() if found is None else found.modified.timestamp()


def exists(folder: Path) -> bool:
    """Whether a folder says it is a library (it may still be damaged)."""
    bucket = bucket_of(folder)
    return (folder / FILE).is_file() if bucket is None else bucket.head(FILE) is not None


def read(folder: Path) -> Card:
    """The card of a library. Raises LibraryError when there is none or it cannot be used."""
    name = shown(folder)
    make = f"make one with: diptych index FOLDER --library {quote(name)}"
    bucket = bucket_of(folder)
    if bucket is None and not folder.exists():
        raise LibraryError(f"no library at {name}: the folder does not exist; {make}")
    try:
        if bucket is None:
            data = (folder / FILE).read_bytes() if (folder / FILE).is_file() else None
        else:
            data = bucket.get(FILE)
            _keep(data, folder)
        if data is None:
            raise LibraryError(f"{name} is not a library (it has no {FILE}); {make}")
        value: Any = json.loads(data)
        card = from_json(value)
    except (OSError, ValueError, TypeError, ConfigError) as error:
        reason = "it holds other keys than a library's" if isinstance(error, TypeError) else error
        raise LibraryError(
            f"{name}/{FILE} is damaged ({reason}); restore it from a backup, or delete the folder and index again"
        ) from error
    if card.format not in (FORMAT, FORMAT_OF_STORES, FORMAT_OF_INDEXES):
        raise LibraryError(
            f"{name} has library format {card.format}, this diptych reads {FORMAT} to {FORMAT_OF_INDEXES}; "
            f"use the diptych version that made it, or index again"
        )
    return card
