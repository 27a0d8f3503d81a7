"""Two small adversarial networks: a script to kill (python adversarial_run.py FOLDER PAUSE), and parts for tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.training.adversarial import AdversarialObjective
from diptych.training.batch_order import BatchRows, RandomBatches
from diptych.training.engine import FitResult, Trainer
from diptych.training.settings import TrainingSettings

RECORDS, STEPS, EPOCHS = 13, 6, 3


class AdversarialRun:
    """A generator of numbers from noise, and a discriminator."""

    def __init__(self, folder: Path, *, pause: float = 0.0, **changes: Any) -> None:
        torch.manual_seed(0)
        self.generator = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
        self.discriminator = torch.nn.Sequential(
            torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(2, 8)), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )
        self.discriminator.learning_rate_scale = 4.0  # type: ignore[assignment]
        self.real = torch.randn(RECORDS, 2, generator=torch.Generator().manual_seed(3)) + 2
        self.pause = pause
        self.objective = AdversarialObjective(
            {"generator": self.generator, "discriminator": self.discriminator},
            {"generator": self.generator_loss, "discriminator": self.discriminator_loss},
            ("discriminator", "discriminator", "generator"),
            STEPS * EPOCHS,
        )
        settings = {
            "precision": "32-true",
            "epochs": EPOCHS,
            "batch_size": 5,
            "learning_rate": 1e-2,
            "weight_decay": 0.0,
            "optimiser": "adam",
            "momentum": 0.5,
            "ema": 0.9,
            "checkpoint_steps": 1,
            "log_steps": 1,
            "tensorboard": False,
        }
        owners = np.arange(RECORDS)
        self.trainer = Trainer(
            torch.nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator}),
            self.objective,
            lambda: {"score": float(self.objective.step)},
            RandomBatches(owners, owners, steps=STEPS, batch_size=5, seed=1),
            TrainingSettings(**settings | changes),
            folder,
            identity={"run": "adversarial"},
            report=self.objective.epoch_report,
            report_step=self.objective.step_report,
            start_step=self.objective.start_step,
            name_rows=lambda rows: [f"record-{owner}" for owner in rows.owner],
            device="cpu",
        )

    def discriminator_loss(self, rows: BatchRows) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        time.sleep(self.pause)
        with torch.no_grad():
            made = self.generator(torch.randn(len(rows), 3))
        gap = self.discriminator(self.real[rows.image]).mean() - self.discriminator(made).mean()
        return torch.nn.functional.softplus(-gap), {"gap": gap}

    def generator_loss(self, rows: BatchRows) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        loss = -self.discriminator(self.generator(torch.randn(len(rows), 3))).mean()
        return loss, {"loss": loss}

    def fit(self) -> FitResult:
        return self.trainer.fit()


if __name__ == "__main__":
    AdversarialRun(Path(sys.argv[1]), pause=float(sys.argv[2])).fit()
