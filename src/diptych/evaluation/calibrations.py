"""Calibrations of a model for several kinds of pairs, in a file: `diptych relate` and relevant hits rest on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError, DataError, ModelError, opening
from diptych.core.files import write_json
from diptych.data.pair_list import KINDS, Kind

from .pair_calibration import PairCalibration

GAIN = "gain a word"  # a measure: how much an image raises the likelihood of a text, a word
FORMAT, FILTER_FORMAT = "diptych-relate", "diptych-filter"
FILE = "relate.json"  # in a model's folder: the calibrations that it comes with


@dataclass(frozen=True)
class Calibrations:
    """Calibrations of a model for some kinds of pairs, and what they were fitted on; saved as JSON."""

    model: str  # its fingerprint
    model_name: str
    measures: tuple[str, ...]
    source: str
    kinds: Mapping[Kind, PairCalibration]
    left_out: Mapping[Kind, str] | None = None  # kinds that the source has too little of, and why

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "format": FORMAT,
            "version": 1,
            "model": self.model,
            "model_name": self.model_name,
            "measures": list(self.measures),
            "source": self.source,
            "kinds": {kind: one.to_json() for kind, one in self.kinds.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibrations:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError or ConfigError for anything else."""
        if value["format"] != FORMAT:
            raise ValueError("another format")
        return cls(
            str(value["model"]),
            str(value["model_name"]),
            tuple(str(one) for one in value["measures"]),
            str(value["source"]),
            {kind: PairCalibration.from_json(value["kinds"][kind]) for kind in KINDS if kind in value["kinds"]},
        )

    def to_text(self) -> str:
        """What was fitted, a line a kind."""
        lines = []
        for kind, one in self.kinds.items():
            line = "" if one.line is None else f" ({self.measures[0]} {one.line:.3f})"
            quality = "too few to say how right it is" if one.quality is None else one.quality.to_text()
            lines.append(
                f"{kind}: fitted on {one.right:,} related and {one.wrong:,} unrelated pairs ({one.unrelated}) of "
                f"{self.source}; related from probability {one.least:.3g} on{line}\n  {quality}"
            )
            if one.cut is not None:
                lines.append(f"  {one.cut.to_text()}")
        lines += [f"{kind}: not fitted: {why}" for kind, why in (self.left_out or {}).items()]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Keep them in a file."""
        write_json(path, self.to_json())

    def origin(self, kind: Kind, place: str = "") -> str:
        """Where the calibration of a kind came from, in words."""
        one = self.kinds[kind]
        kept = f" ({place})" if place else ""
        return (
            f"calibrated on {one.right:,} related and {one.wrong:,} unrelated {kind} pairs ({one.unrelated}) of "
            f"{self.source}{kept}"
        )


def read_calibrations(path: Path, fingerprint: str | None = None, name: str = "") -> Calibrations:
    """From the file of `diptych relate --calibrate`, or the filter.json of `diptych data filter`.

    Raises DataError for another file, ModelError for one that was fitted with another model than that of the
    fingerprint and name, where these are given.
    """
    with opening(path):
        text = path.read_bytes()
    try:
        value = json.loads(text)
        if value.get("format") == FILTER_FORMAT:
            if not value.get("relate"):
                raise DataError(
                    f"{path} has no calibration of single pairs: an earlier diptych data filter wrote it, or no cosine "
                    "reaches its --target; run the filter again, or with another target"
                )
            value = value["relate"]
        found = Calibrations.from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(
            f"{path} is no calibration of pairs; expected the JSON file that diptych relate --calibrate wrote, or the "
            "filter.json of diptych data filter"
        ) from error
    if fingerprint is not None and found.model != fingerprint:
        raise ModelError(
            f"the calibration {path} was fitted with {found.model_name} (fingerprint {found.model[:8]}), and {name} "
            f"has {fingerprint[:8]}; fit it again with --calibrate SOURCE"
        )
    return found


def calibrations_of(model: Any) -> Calibrations | None:
    """Those that a dual encoder comes with: relate.json in its folder. None for one without a folder of ours.

    Raises as `read_calibrations`.
    """
    folder = getattr(model, "folder", None)
    if folder is None or model.joint or model.dim != model.config.dim or not (folder / FILE).is_file():
        return None
    return read_calibrations(folder / FILE, model.fingerprint, model.name)


def uncalibrated(what: str, flags: str) -> str:
    """That nothing is calibrated for some pairs and models, and the command that does it, with the models' flags."""
    return (
        f"nothing is calibrated for {what}; fit it with diptych relate --calibrate SOURCE --calibration FILE.json "
        f"{flags}, then add --calibration FILE.json"
    )
