"""Settings of the engine, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diptych.core.checks import at_least, positive, share
from diptych.core.config import unknown
from diptych.core.errors import ConfigError

SCHEDULES = ("cosine", "constant", "linear", "step")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
OPTIMISERS = ("adamw", "adam", "sgd")

# They change what is logged and when, never what is learnt: a resumed run may have others.
FREE_TO_CHANGE = frozenset({"checkpoint_minutes", "checkpoint_steps", "log_steps", "tensorboard"})


@dataclass(frozen=True)
class TrainingSettings:
    """How long, how fast, on what, and when to stop. A step is one update of the weights."""

    epochs: int = 10  # times that every record is seen, at most (see patience)
    batch_size: int = 1000  # pairs in one loss, over all processes
    learning_rate: float = 1e-3  # the highest, after the warm-up
    weight_decay: float = 0.05  # of matrices; decoupled for adamw, an L2 penalty for adam and sgd
    warmup: float = 0.1  # share of all steps with a rising learning rate
    schedule: str = "cosine"  # cosine | constant | linear | step, after the warm-up
    clip: float = 0.0  # largest norm of the gradient; 0 is no clipping
    patience: int = 0  # epochs without a better validation before stopping; 0 runs to the end
    precision: str = "auto"  # auto | 32-true | bf16-mixed | 16-mixed; auto is bf16-mixed where that is faster
    optimiser: str = "adamw"  # adamw | adam | sgd
    momentum: float = 0.9  # of sgd; the first beta of adam and adamw, whose second is 0.999
    step_at: float = 0.5  # schedule "step": share of all steps after which the rate drops
    step_factor: float = 0.1  # schedule "step": what the rate is multiplied by then
    accumulate: int = 1  # batches whose gradients are averaged into one step
    chunk: int = 0  # pairs a process embeds at once, by gradient caching; 0 is its whole part of the batch
    ema: float = 0.0  # decay a step of the averaged weights that are validated and saved; 0 is none
    checkpoint_minutes: float = 5.0  # between two checkpoints within an epoch; 0 is none by time
    checkpoint_steps: int = 0  # between two checkpoints within an epoch; 0 is none by count
    log_steps: int = 10  # between two lines of steps.jsonl; 0 is none
    tensorboard: bool = True  # write TensorBoard event files where its package is installed
    devices: int = 0  # processes a machine, each with a GPU or some CPUs; 0 is what the launcher started, else 1
    nodes: int = 0  # machines; 0 is what the launcher started, else 1

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate"):
            at_least(name, getattr(self, name), 1)
        at_least("batch_size", self.batch_size, 2)
        intervals = ("checkpoint_minutes", "checkpoint_steps", "log_steps")
        for name in ("weight_decay", "clip", "patience", "chunk", "devices", "nodes", *intervals):
            at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "step_factor"):
            positive(name, getattr(self, name))
        for name in ("warmup", "ema", "momentum"):
            share(name, getattr(self, name))
        if not 0 < self.step_at < 1:
            raise ConfigError(f"step_at is a share of all steps, between 0 and 1; found {self.step_at}")
        for kind, value, choices in (
            ("schedule", self.schedule, SCHEDULES),
            ("precision", self.precision, PRECISIONS),
            ("optimiser", self.optimiser, OPTIMISERS),
        ):
            if value not in choices:
                raise unknown(kind, value, choices)

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate before step `step` of `steps`: a linear warm-up, then the schedule.

        Cosine and linear fall to 0 at the last step's end; step falls once, at the share `step_at` of all
        steps (VSE++ at half of them, X-MRS at a fifth).
        """
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        match self.schedule:
            case "cosine":
                return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            case "linear":
                return self.learning_rate * (1 - done)
            case "step":
                return self.learning_rate * (self.step_factor if step >= self.step_at * steps else 1.0)
        return self.learning_rate
