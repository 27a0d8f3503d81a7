"""A tiny run of the engine: a script to kill (python toy_run.py FOLDER SECONDS_A_STEP), and parts for the tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.core.protocols import SILENT
from diptych.training.batch_order import BatchRows, TextBatches
from diptych.training.engine import FitResult, Trainer
from diptych.training.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=5, batch_size=8, learning_rate=0.02, precision="32-true")


class Toy:
    """Predict one fixed matrix from another, with dropout so that the random state matters."""

    def __init__(self, folder: Path, *, pause: float = 0.0, seed: int = 0, **changes: Any) -> None:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(99)
        self.inputs = torch.randn(32, 6, generator=generator)
        self.targets = torch.randn(32, 3, generator=generator)
        self.module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 3))
        self.pause = pause
        self.validated = 0
        self.steps = 0
        owners = np.arange(32)
        identity = changes.pop("identity", {"seed": seed, "config": {"epochs": 5}})
        progress = changes.pop("progress", SILENT)
        self.trainer = Trainer(
            self.module,
            self.step,
            self.validate,
            TextBatches(owners, owners, batch_size=8, seed=seed),
            replace(SETTINGS, **changes),
            folder,
            identity=identity,
            report=lambda: {"temperature": 0.05},
            device="cpu",
            title="toy",
            progress=progress,
        )

    def step(self, rows: BatchRows) -> torch.Tensor:
        time.sleep(self.pause)
        self.steps += 1
        index = torch.from_numpy(rows.text)
        return (self.module(self.inputs[index]) - self.targets[index]).square().mean()

    def validate(self) -> Mapping[str, float]:
        self.validated += 1
        return {"score": -float((self.module(self.inputs) - self.targets).square().mean()), "other": 1.0}

    def fit(self) -> FitResult:
        return self.trainer.fit()


if __name__ == "__main__":
    Toy(Path(sys.argv[1]), pause=float(sys.argv[2])).fit()
