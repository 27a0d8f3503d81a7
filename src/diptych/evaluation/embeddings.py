"""A source as vectors: what every evaluation of retrieval takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Bool, Float32, Int64


@dataclass(frozen=True)
class Embeddings:
    """A collection as vectors.

    `owner[t]` is the record that text t belongs to, `image_owner[i]` that of image i (None: image i is record i).
    An image and a text are relevant to each other when they are of one record, or with `groups`, an integer
    class for each record, of records of one class.
    """

    images: Float32[np.ndarray, "n d"]
    texts: Float32[np.ndarray, "m d"]
    owner: Int64[np.ndarray, " m"]
    languages: tuple[str | None, ...] = ()  # of each text; () when nothing is known
    groups: Int64[np.ndarray, " records"] | None = None
    image_owner: Int64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        if len(self.owner) != len(self.texts):
            raise DataError(f"{len(self.texts)} texts but {len(self.owner)} owners; expected one each")
        if self.image_owner is not None and len(self.image_owner) != len(self.images):
            raise DataError(f"{len(self.images)} images but {len(self.image_owner)} owners; expected one each")
        if len(self.owner) and not np.isin(self.owner, self.record_of_image).all():
            raise DataError(f"a text's owner is not one of the {self.records} records with images")
        if self.languages and len(self.languages) != len(self.texts):
            raise DataError(f"{len(self.texts)} texts but {len(self.languages)} languages; expected one each")
        if self.groups is not None and len(self.groups) != self.records:
            raise DataError(f"{self.records} records but {len(self.groups)} groups; expected one each")

    @property
    def record_of_image(self) -> Int64[np.ndarray, " n"]:
        """The record that each image belongs to."""
        return np.arange(len(self.images)) if self.image_owner is None else self.image_owner

    @property
    def records(self) -> int:
        """How many records there are."""
        return int(self.record_of_image.max()) + 1 if len(self.images) else 0

    @property
    def labels(self) -> Int64[np.ndarray, " records"]:
        """A label for each record: images and texts of records with the same label are relevant to each other."""
        return np.arange(self.records) if self.groups is None else self.groups

    def only(self, kept: Bool[np.ndarray, " m"]) -> Embeddings:
        """The texts that are kept, and all images of the records that own at least one of them, renumbered."""
        records, owner = np.unique(self.owner[kept], return_inverse=True)
        images = np.isin(self.record_of_image, records)
        return Embeddings(
            self.images[images],
            self.texts[kept],
            owner.astype(np.int64),
            tuple(np.array(self.languages, dtype=object)[kept]) if self.languages else (),
            None if self.groups is None else self.groups[records],
            np.searchsorted(records, self.record_of_image[images]).astype(np.int64),
        )
