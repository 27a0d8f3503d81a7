"""What turns the scores of a pair into a probability: calibrations, kept in files, or a model's own probability."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError, ModelError, opening
from diptych.core.files import write_json
from diptych.core.shapes import Float32, Float64
from diptych.data.pair_list import KINDS, Kind
from diptych.evaluation.pair_calibration import PairCalibration

FORMAT, FILTER_FORMAT = "diptych-relate", "diptych-filter"
FILE = "relate.json"  # in a model's folder: the calibrations that it comes with


@dataclass(frozen=True)
class Judge:
    """What turns the scores of one kind of pair into a probability, and where it came from, in words.

    Either a `calibration`, or a model's `own` probability (SigLIP's sigmoid, a matching head).
    """

    origin: str
    calibration: PairCalibration | None = None
    own: Callable[[Any], Any] | None = None
    prior: float | None = None  # asked for in place of the calibration's
    threshold: float | None = None

    def probability(self, scores: Float32[np.ndarray, "k f"]) -> Float64[np.ndarray, " k"]:
        """How likely each pair is to be related."""
        if self.calibration is not None:
            return self.calibration.probability(scores, self.prior)
        assert self.own is not None
        return np.asarray(self.own(scores[:, 0]), dtype=np.float64)

    def check(self) -> None:
        """Raise ConfigError for a prior that means nothing here."""
        if self.prior is not None and self.calibration is None:
            raise ConfigError(f"a prior needs a calibration, and this is {self.origin}; leave it out, or fit one")
        if self.prior is not None and self.threshold is None and self.calibration is not None:
            self.calibration.least_for(self.prior)

    @property
    def least(self) -> float:
        """The probability from which on a pair is related."""
        if self.threshold is not None:
            return self.threshold
        return 0.5 if self.calibration is None else self.calibration.least_for(self.prior)

    def to_text(self) -> str:
        """Where the answers come from, in a line or two."""
        if self.calibration is None:
            return f"{self.origin}; related from probability {self.least:.3g} on"
        prior = self.calibration.prior if self.prior is None else self.prior
        said = (
            f"{self.origin}; related from probability {self.least:.3g} on, where {100 * prior:.3g} % of the pairs asked"
            " about are related"
        )
        quality = self.calibration.quality
        return said if quality is None else f"{said}\n{quality.to_text()}"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        calibration = self.calibration
        found: dict[str, Any] = {"origin": self.origin, "least": self.least}
        if calibration is not None:
            found |= {"prior": calibration.prior if self.prior is None else self.prior}
            found |= {"calibration": calibration.to_json()}
        return found


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
