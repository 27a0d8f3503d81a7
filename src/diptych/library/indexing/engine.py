"""What embeds the images of a run elsewhere, by several workers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from diptych.core.notes import Notes
from diptych.core.types import Skipped
from diptych.library.encoder import Encoder
from diptych.library.opened import lasting_name

from .reading import Embedded, Unread, Work


@dataclass(frozen=True, slots=True)
class Model:
    """The model that every worker loads: its name, folder or address, and the fingerprint that it has to have."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, encoder: Encoder) -> Model:
        """The model that an encoder is."""
        return cls(lasting_name(encoder), encoder.fingerprint)


@runtime_checkable
class Engine(Protocol):
    """Embeds images by workers."""

    def embed(
        self, images: Iterable[Unread], model: Model, work: Work, known: Collection[str], notes: Notes
    ) -> Iterator[Embedded | Skipped]:
        """What becomes of each image, in order; those whose content is in `known` are read, and not embedded.

        A bounded number of images is taken ahead. What went wrong on the way, and was put right, goes into `notes`.

        Raises LibraryError when the work cannot be done there, DataError for images that are only there for this
        process.
        """
