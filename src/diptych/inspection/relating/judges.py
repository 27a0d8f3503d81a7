"""What turns the scores of a pair into a probability: a calibration, or a model's own probability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float32, Float64
from diptych.evaluation.pair_calibration import PairCalibration


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
