"""Two small networks against each other: a script to kill (python duel_run.py FOLDER PAUSE), and parts for tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.training.adversarial import Adversarial, RoundPlan
from diptych.training.batches import BatchRows
from diptych.training.engine import FitResult, Trainer
from diptych.training.settings import TrainingSettings

RECORDS, STEPS, EPOCHS = 13, 6, 3


class Duel:
    """A generator of numbers from noise, and who tells them from given ones."""

    def __init__(self, folder: Path, *, pause: float = 0.0, **changes: Any) -> None:
        torch.manual_seed(0)
        self.maker = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
        self.judge = torch.nn.Sequential(
            torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(2, 8)), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )
        self.judge.learning_rate_scale = 4.0  # type: ignore[assignment]
        self.real = torch.randn(RECORDS, 2, generator=torch.Generator().manual_seed(3)) + 2
        self.pause = pause
        self.objective = Adversarial(
            {"maker": self.maker, "judge": self.judge},
            {"maker": self.make, "judge": self.tell},
            ("judge", "judge", "maker"),
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
            torch.nn.ModuleDict({"maker": self.maker, "judge": self.judge}),
            self.objective,
            lambda: {"score": float(self.objective.step)},
            RoundPlan(owners, owners, steps=STEPS, batch_size=5, seed=1),
            TrainingSettings(**settings | changes),
            folder,
            identity={"run": "duel"},
            report=self.objective.since_round,
            report_step=self.objective.since_line,
            start_step=self.objective.start_step,
            name_rows=lambda rows: [f"record-{owner}" for owner in rows.owner],
            device="cpu",
        )

    def tell(self, rows: BatchRows) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        time.sleep(self.pause)
        with torch.no_grad():
            made = self.maker(torch.randn(len(rows), 3))
        gap = self.judge(self.real[rows.image]).mean() - self.judge(made).mean()
        return torch.nn.functional.softplus(-gap), {"gap": gap}

    def make(self, rows: BatchRows) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        loss = -self.judge(self.maker(torch.randn(len(rows), 3))).mean()
        return loss, {"loss": loss}

    def fit(self) -> FitResult:
        return self.trainer.fit()


if __name__ == "__main__":
    Duel(Path(sys.argv[1]), pause=float(sys.argv[2])).fit()
