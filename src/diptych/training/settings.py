"""Settings of the engine, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diptych.core.errors import ConfigError

SCHEDULES = ("cosine", "constant")
PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class TrainingSettings:
    """How long, how fast, and when to stop."""

    epochs: int = 10
    batch_size: int = 1000  # pairs
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1  # share of all steps with a rising learning rate
    schedule: str = "cosine"
    clip: float = 0.0  # largest norm of the gradient; 0 is no clipping
    patience: int = 0  # epochs without a better validation before stopping; 0 runs to the end
    precision: str = "32-true"

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 2), ("patience", 0)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, found {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be above 0, found {self.learning_rate}")
        if not (self.weight_decay >= 0 and self.clip >= 0 and 0 <= self.warmup < 1):
            raise ConfigError("weight_decay and clip must be at least 0, and warmup in [0, 1)")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"unknown schedule {self.schedule!r}; choose from {', '.join(SCHEDULES)}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"unknown precision {self.precision!r}; choose from {', '.join(PRECISIONS)}")

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate before step `step` of `steps`: linear warm-up, then cosine to 0 or constant."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - rising) / max(1, steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
