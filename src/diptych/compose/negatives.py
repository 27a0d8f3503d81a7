"""Mined hard negatives in training: from ids in a file to records that meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.errors import DataError
from diptych.data.mined import read_mined, unknown_ids
from diptych.training.partners import Partners


@dataclass(frozen=True)
class MinedNegatives:
    """What `diptych data mine` found, by id, and the fingerprint of the file."""

    path: Path
    hard: Mapping[str, Sequence[str]]
    fingerprint: str

    @classmethod
    def read(cls, path: Path) -> MinedNegatives:
        """Raises DataError for a file that is missing, damaged or not one of these."""
        return cls(path, read_mined(path), fingerprint.of_file(path))

    def unmined(self, ids: Sequence[str]) -> int:
        """How many of these records the file does not speak of."""
        return unknown_ids(self.hard, ids)

    def partners(self, ids: Sequence[str], share: float) -> Partners:
        """Whom each of these records should meet, hardest first; others than these records are left out.

        Raises DataError when nobody should meet anybody: then the file was mined from something else.
        """
        number = {name: place for place, name in enumerate(ids)}
        of = [[number[other] for other in self.hard.get(name, ()) if other in number] for name in ids]
        if not any(of):
            raise DataError(
                f"{self.path} has no hard negatives among the {len(ids)} training records; "
                "mine again from the same source and split, or with a wider --margin"
            )
        return Partners(of, share)
