"""Mined hard negatives in training: from keys in a file to records of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.errors import DataError
from diptych.data.features import FeaturePairs
from diptych.data.mined import MinedFile, images_of, read_mined
from diptych.training.batch_order import HardNegatives


@dataclass(frozen=True)
class MinedNegatives:
    """What `diptych data mine` found, and the fingerprint of the file."""

    path: Path
    hard: MinedFile
    fingerprint: str

    @classmethod
    def read(cls, path: Path) -> MinedNegatives:
        """Raises DataError for a file that is missing, damaged or not one of these."""
        return cls(path, read_mined(path), fingerprint.of_file(path))

    def check(self, training: FeaturePairs) -> None:
        """Raise DataError when the file names other records by the same keys."""
        images = images_of(training.image_owner, training.image_keys)
        if changed := self.hard.changed(dict(zip(training.keys, images, strict=True))):
            raise DataError(
                f"{self.path} was mined from other images: those of {len(changed):,} of {training.records:,} training "
                f"records have changed since (the first: {changed[0]}); run diptych data mine again"
            )

    def unmined(self, training: FeaturePairs) -> int:
        """How many of these records the file does not name: other data, or another split."""
        return sum(key not in self.hard.negatives for key in training.keys)

    def hard_negatives(self, training: FeaturePairs, share: float) -> HardNegatives:
        """The hard negatives of each of these records, hardest first; others than these records are left out.

        Raises DataError when no record has one: then the file was mined from something else.
        """
        place = {key: number for number, key in enumerate(training.keys)}
        of = [[place[other] for other in self.hard.negatives.get(key, ()) if other in place] for key in training.keys]
        if not any(of):
            raise DataError(
                f"{self.path} has no hard negatives among the {training.records} training records; "
                "run diptych data mine again on the same source and split, or with a wider --margin"
            )
        return HardNegatives(of, share)
